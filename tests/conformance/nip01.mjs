// NIP-01, events: the OK, what is refused, what is kept of each kind. Subscriptions are next door.
import { expect, now, reasoned, same, sameEvents, unique } from "./context.mjs";
import { filterChecks } from "./nip01_filters.mjs";
import { subscriptionChecks } from "./nip01_subscriptions.mjs";

export const nip = 1;

/** Of two versions the newer is served, whichever came first. */
const newestKept = (kind, tags = []) => async ({ author, connect, publish, store, read }) => {
  for (const newerFirst of [false, true]) {
    const who = author();
    const client = await connect(who);
    const versions = [20, 10].map((ago) => who.sign({ kind, tags, created_at: now() - ago, content: `{"about":"${ago} s old"}` }));
    const [first, second] = newerFirst ? [...versions].reverse() : versions;
    await store(client, first);
    await publish(client, second); // whether an old version is refused is the relay's choice
    const served = await read(client, { authors: [who.pubkey], kinds: [kind] });
    sameEvents(served, [versions[1]], `versions of kind ${kind}, the ${newerFirst ? "newer" : "older"} published first`);
  }
};

/** Of two versions of the same second the lowest id is served, whichever came first. */
const lowestIdKept = (kind, tags = []) => async ({ author, connect, publish, store, read }) => {
  for (const lowestFirst of [true, false]) {
    const who = author();
    const client = await connect(who);
    const created_at = now() - 10;
    const versions = ["a", "b"].map((about) => who.sign({ kind, tags, created_at, content: `{"about":"${about}"}` }));
    const [low, high] = versions.sort((a, b) => (a.id < b.id ? -1 : 1));
    await store(client, lowestFirst ? low : high);
    await publish(client, lowestFirst ? high : low);
    const served = await read(client, { authors: [who.pubkey], kinds: [kind] });
    sameEvents(served, [low], `versions of one second, the ${lowestFirst ? "lowest" : "highest"} id published first`);
  }
};

/** Publishes events that must be refused, then the good one they were made of. */
async function forgeries({ connect, refuse, store, read, watch }, good, altered) {
  const client = await connect();
  const live = await watch(client, { authors: [good.pubkey] });
  for (const [what, change] of Object.entries(altered)) await refuse(client, { ...good, ...change }, ["invalid"], what);
  sameEvents(await read(client, { authors: [good.pubkey] }), [], "stored after the refusals");
  await store(client, good);
  sameEvents(await live.upTo(good), [good], "live");
  sameEvents(await read(client, { authors: [good.pubkey] }), [good], "stored");
}

/** An event comes back as it was sent, found by each of its tag values. */
async function comesBack({ author, connect, store, read }, content) {
  const who = author();
  const client = await connect(who);
  const event = who.sign({ tags: [["t", content], ["x", "value", content], [content]], content });
  await store(client, event);
  same(await read(client, { authors: [who.pubkey] }), [event], "read by author");
  same(await read(client, { authors: [who.pubkey], "#t": [content] }), [event], "read by tag value");
}

const eventChecks = [
  {
    name: "OK has four elements, the reason is empty or has a prefix",
    async run({ author, connect, publish }) {
      const who = author();
      const client = await connect(who);
      const good = who.sign({ content: "good" });
      for (const [event, accepted] of [[{ ...good, content: "bad" }, false], [good, true], [good, true]]) {
        const answer = await publish(client, event);
        same([answer.length, answer[1], answer[2], typeof answer[3]], [4, good.id, accepted, "string"], "OK");
        if (answer[3] !== "" || !accepted) reasoned(answer, [], "OK");
      }
    },
  },
  {
    name: "an event altered after signing is refused, neither stored nor seen",
    async run(context) {
      const good = context.sign({ tags: [["t", unique()]], content: "pay me" });
      await forgeries(context, good, {
        "altered content": { content: "pay me more" },
        "altered kind": { kind: 7 },
        "altered to an ephemeral kind": { kind: 20001 },
        "altered created_at": { created_at: good.created_at - 1 },
        "altered tags": { tags: good.tags.map(([name, ...rest]) => (name === "t" ? [name, unique()] : [name, ...rest])) },
        "another pubkey": { pubkey: context.author().pubkey },
        "another id": { id: good.id.replace(/.$/, (last) => (last === "0" ? "1" : "0")) },
      });
    },
  },
  {
    name: "a forged signature is refused",
    async run(context) {
      const who = context.author();
      const good = who.sign({ content: "signed" });
      await forgeries(context, good, {
        "the sig of another event": { sig: who.sign({ content: "other" }).sig },
        "an altered sig": { sig: good.sig.replace(/.$/, (last) => (last === "0" ? "1" : "0")) },
        "a sig of zeros": { sig: "0".repeat(128) },
      });
    },
  },
  {
    name: "id, pubkey and sig are lower-case hex",
    async run(context) {
      const good = context.sign({ content: "lower case" });
      const shout = (field) => ({ [field]: good[field].toUpperCase() });
      await forgeries(context, good, { "upper-case id": shout("id"), "upper-case pubkey": shout("pubkey"), "upper-case sig": shout("sig") });
    },
  },
  {
    name: "a signed event that is none by NIP-01's form is refused",
    async run({ author, connect, refuse, store }) {
      const who = author();
      const client = await connect(who);
      for (const wrong of [{ kind: 65536 }, { kind: -1 }, { kind: 1.5 }, { created_at: now() - 0.5 }, { created_at: -1 }]) {
        await refuse(client, who.sign(wrong), ["invalid"], JSON.stringify(wrong));
      }
      for (const field of ["content", "tags"]) {
        const event = who.sign({ created_at: now() - 1 });
        delete event[field];
        await refuse(client, event, ["invalid"], `an event without ${field}`);
      }
      await store(client, who.sign({ kind: 65535 }));
    },
  },
  {
    name: "a duplicate gets OK true with duplicate: and is not sent again",
    async run({ author, connect, publish, store, watch, read }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(client, { authors: [who.pubkey] });
      const event = await store(client, who.sign({ content: "once" }));
      const answer = await publish(client, event);
      expect(answer[2] === true, `the duplicate was refused: ${answer[3]}`);
      reasoned(answer, ["duplicate"], "the duplicate");
      const next = await store(client, who.sign({ content: "next" }));
      sameEvents(await live.upTo(next), [event, next], "live");
      sameEvents(await read(client, { authors: [who.pubkey] }), [event, next], "stored");
    },
  },
  {
    name: "quotes, backslashes, line ends and every script come back unchanged",
    run: (context) => comesBack(context, ' "\\/\\n\n\r\t\b\f \u007f\u2028 ü 中 🙂 \\u0041 '),
  },
  {
    name: "control characters come back unchanged (hashed as JSON.stringify writes them)",
    run: (context) => comesBack(context, "\u0000\u0001 \u001b[0m \u001f"),
  },
  {
    name: "what is stored is there for a later connection",
    async run({ author, connect, store, read }) {
      const who = author();
      const first = await connect(who);
      const event = await store(first, who.sign({ content: "kept" }));
      await first.close();
      same(await read(await connect(), { ids: [event.id] }), [event], "read later");
    },
  },
  {
    name: "regular kinds: every event is kept",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      for (const kind of [1, 2, 7, 44, 1000, 9999]) {
        const events = ["first", "second", "second"].map((content, at) => who.sign({ kind, created_at: now() - (at % 2), content, tags: [["d", ""]] }));
        await store(client, ...events);
        sameEvents(await read(client, { authors: [who.pubkey], kinds: [kind] }), events, `kind ${kind}`);
      }
    },
  },
  ...[0, 3, 10000, 19999].map((kind) => ({ name: `replaceable kind ${kind}: the newest is served`, run: newestKept(kind) })),
  ...[30000, 39999].map((kind) => ({ name: `addressable kind ${kind}: the newest of a d is served`, run: newestKept(kind, [["d", "name"]]) })),
  { name: "replaceable, same second: the lowest id is served", run: lowestIdKept(10000) },
  { name: "addressable, same second: the lowest id is served", run: lowestIdKept(30000, [["d", "name"]]) },
  {
    name: "replaceable and addressable events give way to their own kind, author and d alone",
    async run({ author, connect, store, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const of = (signer, kind, d, ago) => signer.sign({ kind, tags: [["d", d]], created_at: now() - ago });
      const addressable = [of(who, 30000, "a", 9), of(who, 30000, "b", 8), of(who, 30001, "a", 7), of(other, 30000, "a", 6)];
      const events = [...addressable, of(who, 10001, "a", 5), of(who, 10002, "a", 4), of(other, 10001, "a", 3)];
      await store(client, ...events);
      sameEvents(await read(client, { authors: [who.pubkey, other.pubkey] }), events, "stored");
      const newer = await store(client, of(who, 10001, "b", 2)); // the d of a replaceable event says nothing
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [10001] }), [newer], "kind 10001");
    },
  },
  ...[20000, 29999].map((kind) => ({
    name: `ephemeral kind ${kind}: sent live, not stored`,
    async run({ author, connect, store, watch, read }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(client, { authors: [who.pubkey] });
      const event = await store(client, who.sign({ kind, content: "now" }));
      sameEvents(await live.upTo(event), [event], "live");
      const kept = await store(client, who.sign({ content: "kept" }));
      sameEvents(await read(client, { authors: [who.pubkey] }, { ids: [event.id] }), [kept], "stored");
    },
  })),
];

export const checks = [...eventChecks, ...filterChecks, ...subscriptionChecks];
