// NIP-89: who handles a kind, by filters, and ranked over HTTP where a relay does that.
import { expect, now, same, sameEvents, skip, sleep } from "./context.mjs";
import { announce, ask, askHandlers, feedback, freshKind, handlersOf } from "./market.mjs";
import { malformed, needsHandlers, people, result } from "./market.mjs";

export const nip = 89;

const HANDLER = 31990;
const METADATA = { name: "Adder", about: "two and two", "nip90Params": { max: { values: ["1", 2, null] } } };

const [D, K] = [["d", "main"], ["k", "5050"]];
const notKinds = ["", "abc", "-1", "5050.5", "65536", "0x10", " 5050", "5050 ", "1e3"];
const refused = malformed(
  HANDLER,
  [
    [D, K],
    [["d", "web"], K, ["k", "0"], ["k", "65535"], ["web", "https://example.com/a/<bech32>", "nevent"], ["t", "x"]],
    [["d", "no kind"]],
    [K],
    [["d", "next"], K, ["latest", `35128:${"a".repeat(64)}:site`, "wss://relay.example"]],
  ],
  [
    ["k", [D, ["k"]]],
    ["k", [D, K, ["k"]]],
    ...notKinds.flatMap((kind) => [["k", [D, ["k", kind]]], ["k", [D, K, ["k", kind]]]]),
    ...["x", "[]", "[{}]", "null", "1", '"{}"', "{", "{} {}", "{'a':1}"].map((content) => ["content", [D, K], content]),
  ],
);

const within = (value, low, high, what) =>
  expect(typeof value === "number" && value >= low && value <= high, `${what} is ${JSON.stringify(value)}`);

/** What `/api/handlers` says of the handler `event`, whatever its numbers are. */
function wellFormed(entry, event, rank) {
  same(
    [entry.rank, entry.pubkey, entry.event_id, entry.created_at, entry.d],
    [rank, event.pubkey, event.id, event.created_at, event.tags.find(([name]) => name === "d")[1]],
    "rank, pubkey, event_id, created_at and d",
  );
  const kinds = event.tags.filter(([name]) => name === "k").map(([, kind]) => Number(kind));
  same(entry.kinds?.toSorted(), kinds.toSorted(), "kinds");
  same(entry.metadata, event.content ? JSON.parse(event.content) : null, "metadata");
  expect(typeof entry.online === "boolean", "online is no boolean");
  const isCount = (value) => Number.isInteger(value) && value >= 0;
  for (const key of ["results", "errors"]) expect(isCount(entry[key]), `${key} is no count`);
  for (const key of ["last_seen", "median_ms"]) expect(entry[key] === null || isCount(entry[key]), `${key} is no time`);
  if (entry.success_rate !== null) within(entry.success_rate, 0, 1, "success_rate");
  within(entry.standing, -1, 1, "standing");
  within(entry.score, 0, 1, "score");
  expect(Array.isArray(entry.reputation), "reputation is no list");
}

/** Handlers for a kind of job used by nothing else, each of its own key; `change` makes them unlike others. */
async function listing(context, publishers, change = () => ({})) {
  await needsHandlers(context);
  const kind = await freshKind(context);
  const events = publishers.map((who, at) => announce(who, [kind], { created_at: now() - 10 - at, ...change(at) }));
  for (const [at, { client }] of publishers.entries()) await context.store(client, events[at]);
  return { kind, events };
}

const filterChecks = [
  {
    name: "handlers are found by #k, each by several k, and sent live",
    async run(context) {
      const { read, store, watch } = context;
      const [provider, second, buyer] = await people(context, 3);
      const [one, two, three] = [await freshKind(context), await freshKind(context), await freshKind(context)];
      const authors = [provider.pubkey, second.pubkey];
      const by = (...kinds) => ({ kinds: [HANDLER], "#k": kinds.map(String), authors });
      const live = await watch(buyer.client, by(two));
      const both = announce(provider, [one, two], { content: JSON.stringify(METADATA) });
      const [last, other] = [announce(provider, [three], { d: "other" }), announce(second, [two])];
      await store(provider.client, both, last, other);
      sameEvents(await live.upTo(other), [both, other], "live");
      sameEvents(await read(buyer.client, by(one)), [both], "by the first k");
      sameEvents(await read(buyer.client, by(two)), [both, other], "by the second k");
      sameEvents(await read(buyer.client, by(one, three)), [both, last], "by either of two");
      sameEvents(await read(buyer.client, by(one + 1000)), [], "by a kind nobody named");
    },
  },
  {
    name: "a handler is replaced per d, and then found by its new k alone",
    async run(context) {
      const { publish, read, store } = context;
      const [provider] = await people(context, 1);
      const [one, two] = [await freshKind(context), await freshKind(context)];
      const at = (ago) => ({ created_at: now() - ago });
      const by = (kind) => ({ kinds: [HANDLER], "#k": [`${kind}`], authors: [provider.pubkey] });
      const [old, kept] = [announce(provider, [one], at(30)), announce(provider, [one], { d: "other", ...at(30) })];
      await store(provider.client, old, kept);
      const fresh = await store(provider.client, announce(provider, [two], at(20)));
      await publish(provider.client, announce(provider, [one], at(25))); // too late; may be refused
      sameEvents(await read(provider.client, by(one)), [kept], "by the old k");
      sameEvents(await read(provider.client, by(two)), [fresh], "by the new k");
      const all = { kinds: [HANDLER], authors: [provider.pubkey] };
      sameEvents(await read(provider.client, all), [fresh, kept], "by author");
    },
  },
  {
    name: "a recommendation is found by #d and #a, and leads to its handlers",
    async run(context) {
      const { read, store } = context;
      const [user, provider, second] = await people(context, 3);
      const kind = await freshKind(context);
      const handlers = [announce(provider, [kind], { d: "a:b" }), announce(second, [kind])];
      await store(provider.client, ...handlers);
      const addresses = [`${HANDLER}:${provider.pubkey}:a:b`, `${HANDLER}:${second.pubkey}:main`];
      const recommend = (chosen, ago, d = `${kind}`) => {
        const a = chosen.map((address) => ["a", address, "wss://relay.example", "web"]);
        return user.sign({ kind: 31989, tags: [["d", d], ...a], created_at: now() - ago });
      };
      const [old, both] = [recommend(addresses.slice(1), 30), recommend(addresses, 20)];
      const other = recommend(addresses.slice(0, 1), 20, "1");
      await store(user.client, old);
      await store(user.client, both, other);
      const filter = { kinds: [31989], authors: [user.pubkey] };
      sameEvents(await read(user.client, { ...filter, "#d": [`${kind}`] }), [both], "by #d");
      sameEvents(await read(user.client, { ...filter, "#a": [addresses[1]] }), [both], "by #a");
      sameEvents(await read(user.client, { "#a": [addresses[0]] }), [both, other], "by #a of both");
      const handler = { kinds: [HANDLER], authors: [provider.pubkey], "#d": ["a:b"] };
      sameEvents(await read(user.client, handler), handlers.slice(0, 1), "the handler");
    },
  },
  { name: "a handler with a malformed k or content is refused with invalid:, one without d or k is taken", run: refused },
];

const apiChecks = [
  {
    name: "/api/handlers without a kind is answered with 400",
    async run(context) {
      for (const query of ["", "?", "?k=", "?k=abc", "?k=-1", "?k=65536", "?kind=5050"]) {
        same((await askHandlers(context, query)).status, 400, `status for ${query || "no query"}`);
      }
    },
  },
  {
    name: "/api/handlers is JSON of its version, open to every origin",
    async run(context) {
      const kind = await freshKind(context);
      const answer = await askHandlers(context, `?k=${kind}`);
      same(answer.headers.get("access-control-allow-origin"), "*", "access-control-allow-origin");
      const { handlers, ...rest } = await answer.json();
      same(rest, { version: 1, kind }, "what is not handlers");
      expect(Array.isArray(handlers), "handlers is no list");
    },
  },
  {
    name: "/api/handlers lists the handlers of a kind with all that is known of them",
    async run(context) {
      const publishers = await people(context, 3);
      const change = (at) => [{ content: JSON.stringify(METADATA) }, { tags: [["k", "1"], ["t", "x"]] }, { d: "" }][at];
      const { kind, events } = await listing(context, publishers, change);
      // What only looks like a handler of the kind.
      const [{ client, ...who }] = publishers;
      await context.store(client, who.sign({ tags: [["k", `${kind}`]] }), announce(who, [1], { d: `${kind}` }));
      const handlers = await handlersOf(context, kind, ...publishers);
      for (const event of events) {
        const mine = handlers.filter(({ pubkey }) => pubkey === event.pubkey);
        same(mine.length, 1, "entries of one provider");
        wellFormed(mine[0], event, handlers.indexOf(mine[0]) + 1);
        const { results, errors, success_rate, median_ms, reputation, standing } = mine[0];
        const nothing = { results: 0, errors: 0, success_rate: null, median_ms: null, reputation: [], standing: 0 };
        same({ results, errors, success_rate, median_ms, reputation, standing }, nothing, "numbers of who did nothing");
      }
    },
  },
  {
    name: "/api/handlers lists who is connected first, and tells it",
    async run(context) {
      await needsHandlers(context);
      const [here] = await people(context, 1);
      if (!(await context.challenge(await context.connectBare()))) throw skip("there is no AUTH here");
      const away = context.author();
      const kind = await freshKind(context);
      await context.store(here.client, announce(away, [kind]), announce(here, [kind], { created_at: now() - 60 }));
      const told = (list) => list.filter(({ pubkey }) => [here, away].some((who) => who.pubkey === pubkey));
      const before = told(await handlersOf(context, kind, here, away));
      const states = before.map(({ pubkey, online }) => [pubkey, online]);
      same(states, [[here.pubkey, true], [away.pubkey, false]], "who is online");
      within(before[0].last_seen, now() - 60, now() + 60, "last_seen");
      same(before[1].last_seen, null, "last_seen of who was never here");
      await here.client.close();
      const isOff = async () => told(await handlersOf(context, kind)).every(({ online }) => !online);
      await context.eventually(isOff, "online is still true", 20_000);
    },
  },
  {
    name: "/api/handlers lists no handler that was replaced, deleted or has expired",
    async run(context) {
      const [kept, changed, deleted, brief] = await people(context, 4);
      const at = now() + 3;
      const change = (index) => (index === 3 ? { tags: [["expiration", `${at}`]] } : {});
      const { kind, events } = await listing(context, [kept, changed, deleted, brief], change);
      const other = await freshKind(context);
      await context.store(changed.client, announce(changed, [other]));
      const deletion = { kind: 5, tags: [["a", `${HANDLER}:${deleted.pubkey}:main`]] };
      await context.store(deleted.client, deleted.sign(deletion));
      await sleep(Math.max(0, at * 1000 + 250 - Date.now()));
      const ours = (list) => list.filter(({ event_id: id }) => events.some((event) => event.id === id));
      const listed = ours(await handlersOf(context, kind, kept)).map(({ pubkey }) => pubkey);
      same(listed, context.advertises(40) ? [kept.pubkey] : [kept.pubkey, brief.pubkey], "listed");
      await handlersOf(context, other, changed);
    },
  },
  {
    name: "/api/handlers tells results, errors and times, and ranks by them",
    async run(context) {
      const [customer, good, mixed, poor] = await people(context, 4);
      const { kind } = await listing(context, [poor, mixed, good]);
      const jobs = [ask(customer, [], { kind }), ask(customer, [], { kind })];
      await context.store(customer.client, ...jobs);
      for (const who of [good, mixed]) {
        await context.store(who.client, feedback(who, jobs[0], "processing"), result(who, jobs[0]));
      }
      await context.store(good.client, result(good, jobs[1]));
      for (const who of [mixed, poor]) await context.store(who.client, feedback(who, jobs[1], "error"));
      const handlers = await handlersOf(context, kind, good, mixed, poor);
      const of = (who) => handlers.find(({ pubkey }) => pubkey === who.pubkey);
      const numbers = ({ results, errors, success_rate }) => [results, errors, success_rate];
      const done = [[2, 0, 1], [1, 1, 0.5], [0, 1, 0]];
      same([good, mixed, poor].map(of).map(numbers), done, "results, errors and success_rate");
      for (const who of [good, mixed]) within(of(who).median_ms, 0, 60_000, "median_ms");
      same(of(poor).median_ms, null, "median_ms of who gave no result");
      const ranks = [good, mixed, poor].map((who) => of(who).rank);
      same(ranks, ranks.toSorted((a, b) => a - b), "ranks of the good, the mixed and the poor");
      for (const [index, { rank, online, score }] of handlers.entries()) {
        same(rank, index + 1, "rank");
        const next = handlers[index + 1];
        const inOrder = !next || (online === next.online ? score >= next.score : online);
        expect(inOrder, `rank ${rank} is worse than rank ${rank + 1}`);
      }
    },
  },
];

export const checks = [...filterChecks, ...apiChecks];
