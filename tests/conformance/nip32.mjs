// NIP-32: labels, and what they make of a provider's reputation where a relay tells it.
import { expect, now, same, sameEvents, unique } from "./context.mjs";
import { announce, ask, feedback, freshKind, handlersOf, needsHandlers, people, result } from "./market.mjs";

export const nip = 32;

const LABEL = 1985;
/** What the label of a known customer weighs, and that of anybody else, while these are few. */
const [KNOWN, OTHER] = [1, 0.05];

/** A label in a namespace on the targets given. */
const label = (who, value, targets, { namespace = "quality", ...rest } = {}) =>
  who.sign({ kind: LABEL, tags: [["L", namespace], ["l", value, namespace], ...targets], ...rest });
const on = (who) => [["p", who.pubkey]];

/** A provider with a handler for a kind used by nothing else, and `said()`: what is told of it then. */
async function provider(context, who) {
  await needsHandlers(context);
  const kind = await freshKind(context);
  await context.store(who.client, announce(who, [kind]));
  const said = async () => {
    const { reputation, standing } = (await handlersOf(context, kind, who)).find(({ pubkey }) => pubkey === who.pubkey);
    expect(Array.isArray(reputation), "reputation is no list");
    const tallies = reputation.map(({ weight, ...rest }) => ({ ...rest, weight: Math.round(weight * 1e6) / 1e6 }));
    return { reputation: tallies, standing };
  };
  return { kind, said };
}

/** A job of `kind` that `customer` publishes, and `who` and others answer; gives the result of `who`. */
async function deal({ store }, kind, customer, who, ...others) {
  const job = await store(customer.client, ask(customer, [], { kind }));
  for (const other of others) await store(other.client, result(other, job));
  return store(who.client, result(who, job));
}

/** What `/api/handlers` tells of a label with votes by so many known customers, other customers and strangers. */
const tally = (name, { known = 0, customers = 0, strangers = 0 }, namespace = "quality") => {
  const weight = Math.round((known * KNOWN + (customers + strangers) * OTHER) * 1e6) / 1e6;
  return { namespace, label: name, votes: known + customers + strangers, customers: known + customers, weight };
};

const labelChecks = [
  {
    name: "labels are found by #L, #l, #p and #e, and sent live",
    async run(context) {
      const { read, store, watch } = context;
      const [author, reader] = await people(context, 2);
      const [namespace, name, key, id, topic] = [`test/${unique()}`, unique(), unique(), unique(), unique()];
      const hint = "wss://relay.example";
      const targets = [["p", key, hint], ["e", id, hint], ["t", topic], ["r", hint]];
      const all = label(author, name, targets, { namespace, content: "Because." });
      const [onKey, onEvent] = [label(author, unique(), [["p", key]], { namespace }), label(author, name, [["e", id]])];
      const live = await watch(reader.client, { kinds: [LABEL], "#L": [namespace] });
      await store(author.client, onEvent, onKey, all);
      sameEvents(await live.upTo(all), [onKey, all], "live");
      const cases = [
        [{ "#L": [namespace] }, [onKey, all]],
        [{ "#l": [name] }, [onEvent, all]],
        [{ "#p": [key] }, [onKey, all]],
        [{ "#e": [id] }, [onEvent, all]],
        [{ "#t": [topic] }, [all]],
        [{ "#L": [namespace], "#l": [name], "#p": [key], "#e": [id] }, [all]],
        [{ authors: [author.pubkey], "#L": ["quality"] }, [onEvent]],
        [{ "#l": [namespace] }, []],
      ];
      for (const [filter, found] of cases) {
        sameEvents(await read(reader.client, { kinds: [LABEL], ...filter }), found, Object.keys(filter).join(" and "));
      }
    },
  },
  {
    name: "labels an event gives itself are found by #L and #l",
    async run(context) {
      const [author] = await people(context, 1);
      const [value, other] = [unique(), unique()];
      const said = [["ISO-639-1", value], ["ISO-639-1", other], ["ISO-3166-2", value]];
      const notes = said.map(([namespace, l]) => author.sign({ tags: [["L", namespace], ["l", l, namespace]] }));
      await context.store(author.client, ...notes);
      const filter = { "#L": ["ISO-639-1"], "#l": [value] };
      sameEvents(await context.read(author.client, filter), notes.slice(0, 1), "stored");
    },
  },
  {
    name: "label events with anything odd in their tags are stored all the same",
    async run(context) {
      const [author] = await people(context, 1);
      const p = ["p", author.pubkey];
      const odd = [
        [],
        [p],
        [["L", "quality"], p],
        [["l", "good"], p],
        [["l", "good", "quality"], p],
        [["L", "quality"], ["l", "good", "latency"], p],
        [["L", "quality"], ["l", "good", "quality"]],
        [["L"], ["l"], p],
        [["L", ""], ["l", "", ""], p],
        [["L", "quality"], ["l", "good", "quality"], ["p", "x"], ["e", "y"], ["a", "z"], ["p"], ["e"]],
        [["L", "quality"], ["l", "l".repeat(5000), "quality"], p],
        [["L", "L".repeat(300)], ["l", "\u0000 \u{1F600}", "L".repeat(300)], p],
        [...Array.from({ length: 60 }, (_, at) => ["L", `n${at}`]), ["l", "good", "n1"], ["l", "bad", "n1"], p, p],
        [["L", "quality"], ["l", "good", "quality"], ...Array.from({ length: 60 }, () => ["e", unique()])],
      ];
      const events = odd.map((tags, at) => author.sign({ kind: LABEL, tags, content: `${at}` }));
      await context.store(author.client, ...events);
      sameEvents(await context.read(author.client, { kinds: [LABEL], authors: [author.pubkey] }), events, "stored");
    },
  },
];

const reputationChecks = [
  {
    name: "reputation: the label of a customer who has dealt with two others weighs 1, anybody else's 0.05",
    async run(context) {
      const { store } = context;
      const [worker, customer, second, asker, stranger, ...others] = await people(context, 7);
      const { kind, said } = await provider(context, worker);
      await deal(context, kind, customer, worker, ...others);
      await deal(context, kind, second, worker);
      // Who only asked, or only heard that the job is being worked on, is no customer yet.
      const open = await store(asker.client, ask(asker, [], { kind }));
      await store(worker.client, feedback(worker, open, "processing"));
      for (const who of [customer, asker, stranger]) await store(who.client, label(who, "good", on(worker)));
      await store(second.client, label(second, "slow", on(worker), { namespace: "latency" }));
      await store(stranger.client, label(stranger, "odd", on(worker), { namespace: "of my own" }));
      const { reputation, standing } = await said();
      const little = [tally("slow", { customers: 1 }, "latency"), tally("odd", { strangers: 1 }, "of my own")];
      same(reputation, [tally("good", { known: 1, strangers: 2 }), ...little], "reputation");
      expect(standing > 0, `standing is ${standing} although more is good than bad`);
    },
  },
  {
    name: "reputation: a customer whose request came after the result is one, too",
    async run(context) {
      const { store } = context;
      const [worker, customer] = await people(context, 2);
      const { kind, said } = await provider(context, worker);
      const job = ask(customer, [], { kind });
      await store(worker.client, result(worker, job));
      await store(customer.client, job, label(customer, "good", on(worker)));
      same((await said()).reputation, [tally("good", { customers: 1 })], "reputation");
    },
  },
  {
    name: "reputation: a key's newest label in a namespace counts, in any order of arrival",
    async run(context) {
      const { store } = context;
      const [worker, one, two, three] = await people(context, 4);
      const { said } = await provider(context, worker);
      const vote = (who, value, ago) => store(who.client, label(who, value, on(worker), { created_at: now() - ago }));
      for (const [value, ago] of [["good", 30], ["bad", 20]]) await vote(one, value, ago);
      for (const [value, ago] of [["bad", 20], ["great", 30], ["good", 40]]) await vote(two, value, ago);
      await vote(three, "bad", 10);
      await store(one.client, label(one, "fast", on(worker), { namespace: "latency", created_at: now() - 60 }));
      const { reputation, standing } = await said();
      same(reputation, [tally("bad", { strangers: 3 }), tally("fast", { strangers: 1 }, "latency")], "reputation");
      expect(standing < 0, `standing is ${standing} although more is bad than good`);
    },
  },
  {
    name: "reputation: the provider's own label does not count, nor one its author has deleted",
    async run(context) {
      const { store } = context;
      const [worker, stranger, second] = await people(context, 3);
      const { kind, said } = await provider(context, worker);
      const done = await deal(context, kind, worker, worker);
      await store(worker.client, label(worker, "best", on(worker)), label(worker, "best", [["e", done.id]]));
      const gone = await store(second.client, label(second, "best", on(worker)));
      await store(second.client, second.sign({ kind: 5, tags: [["e", gone.id]] }));
      await store(stranger.client, label(stranger, "good", on(worker)));
      same((await said()).reputation, [tally("good", { strangers: 1 })], "reputation");
    },
  },
  {
    name: "reputation: a label on a result and its author counts once, one on another event not at all",
    async run(context) {
      const { store } = context;
      const [worker, customer, stranger] = await people(context, 3);
      const { kind, said } = await provider(context, worker);
      const done = await deal(context, kind, customer, worker);
      const note = await store(worker.client, worker.sign({}));
      await store(stranger.client, label(stranger, "good", [["e", done.id], ["p", worker.pubkey]]));
      await store(stranger.client, label(stranger, "wrong", [["e", note.id]], { namespace: "latency" }));
      same((await said()).reputation, [tally("good", { strangers: 1 })], "reputation");
    },
  },
  {
    name: "reputation: a label on a result alone counts for the result's author",
    async run(context) {
      const { store } = context;
      const [worker, rival, customer, stranger] = await people(context, 4);
      const [{ kind, said }, other] = [await provider(context, worker), await provider(context, rival)];
      const [done, theirs] = [await deal(context, kind, customer, worker), await deal(context, kind, customer, rival)];
      await store(customer.client, label(customer, "good", [["e", done.id, "wss://relay.example"]]));
      await store(stranger.client, label(stranger, "bad", [["e", theirs.id]]));
      same((await said()).reputation, [tally("good", { customers: 1 })], "reputation of the first");
      same((await other.said()).reputation, [tally("bad", { strangers: 1 })], "reputation of the second");
    },
  },
];

export const checks = [...labelChecks, ...reputationChecks];
