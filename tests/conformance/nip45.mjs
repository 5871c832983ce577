// NIP-45: COUNT, and the registers of HyperLogLog.
import { expect, now, reasoned, same, sameEvents, sha256, skip, unique } from "./context.mjs";

export const nip = 45;

/** Leading zero bits of bytes. */
function leadingZeros(bytes) {
  const at = bytes.findIndex((byte) => byte !== 0);
  return at < 0 ? bytes.length * 8 : at * 8 + Math.clz32(bytes[at]) - 24;
}

/** The byte of a pubkey that chooses a register, for a tag value (NIP-45, `offset` computation). */
function offsetOf(value) {
  const address = /^\d+:([0-9a-f]{64}):/.exec(value);
  const hex = address ? address[1] : /^[0-9a-f]{64}$/.test(value) ? value : sha256(value);
  return parseInt(hex[32], 16) + 8;
}

/** Which register a pubkey goes to and what it wants there. */
function entry(pubkey, offset) {
  const bytes = [...Buffer.from(pubkey, "hex")];
  return { register: bytes[offset], value: leadingZeros(bytes.slice(offset + 1)) + 1 };
}

function registers(pubkeys, offset) {
  const all = new Uint8Array(256);
  for (const { register, value } of pubkeys.map((pubkey) => entry(pubkey, offset))) all[register] = Math.max(all[register], value);
  return Buffer.from(all).toString("hex");
}

/** An author whose entry is as wanted. */
function authorWith(author, offset, wanted) {
  for (;;) {
    const who = author();
    if (wanted(entry(who.pubkey, offset))) return who;
  }
}

/** Publishes a reaction of each author to a tag and compares count and registers exactly. */
async function compare({ connect, count, store, author }, letter, value, authors, filter = {}) {
  const client = await connect();
  const events = authors.map((who, at) => who.sign({ kind: 7, created_at: now() - 100 + at, tags: [[letter, value]], content: `${at}` }));
  // Neither another value nor another kind belongs to the count.
  const others = [author().sign({ kind: 7, tags: [[letter, unique()]] }), author().sign({ tags: [[letter, value]] })];
  await store(client, ...others, ...events);
  const answer = await count(client, { kinds: [7], [`#${letter}`]: [value], ...filter });
  same([answer[0], answer[2]?.count], ["COUNT", events.length], "count");
  const { hll } = answer[2];
  if (hll === undefined) throw skip("counts carry no hll, which NIP-45 leaves to the relay");
  expect(/^[0-9a-f]{512}$/i.test(hll), `hll is not 512 hex digits but ${hll.length} characters`);
  const expected = registers(authors.map((who) => who.pubkey), offsetOf(value));
  const [got, wanted] = [hll.toLowerCase(), expected].map((hex) => hex.match(/../g));
  const differing = wanted.flatMap((byte, register) => (got[register] === byte ? [] : [[register, got[register], byte]]));
  same(differing, [], `registers that differ, as [register, got, expected] (offset ${offsetOf(value)})`);
}

const many = (author) => Array.from({ length: 12 }, () => author());

export const checks = [
  {
    name: "COUNT counts what a REQ would find",
    async run({ author, connect, store, read, counted }) {
      const [a, b] = [author(), author()];
      const client = await connect(a, b);
      const tag = unique();
      const start = now() - 100;
      const events = [0, 1, 2, 3, 4].map((at) =>
        (at < 3 ? a : b).sign({ kind: at % 2 ? 7 : 1, created_at: start + at, tags: at ? [["t", tag]] : [] }),
      );
      same(await counted(client, { authors: [a.pubkey] }), 0, "before");
      await store(client, ...events);
      const cases = [
        [{ authors: [a.pubkey] }, 3],
        [{ authors: [a.pubkey, b.pubkey] }, 5],
        [{ authors: [a.pubkey, b.pubkey], kinds: [7] }, 2],
        [{ "#t": [tag] }, 4],
        [{ "#t": [tag], authors: [b.pubkey] }, 2],
        [{ ids: [events[0].id, events[4].id, unique()] }, 2],
        [{ authors: [a.pubkey, b.pubkey], since: start + 1, until: start + 3 }, 3],
        [{ authors: [a.pubkey], kinds: [] }, 0],
        [{ "#t": [unique()] }, 0],
      ];
      for (const [filter, expected] of cases) {
        same(await counted(client, filter), expected, Object.keys(filter).join(" and "));
        same((await read(client, filter)).length, expected, `REQ by ${Object.keys(filter).join(" and ")}`);
      }
    },
  },
  {
    name: "several filters are one count, nothing counted twice",
    async run({ author, connect, store, counted }) {
      const [a, b] = [author(), author()];
      const client = await connect(a, b);
      const events = [a.sign({}), a.sign({ kind: 7 }), b.sign({}), b.sign({ kind: 7 })];
      await store(client, ...events);
      const [ofA, ofB, sevens] = [{ authors: [a.pubkey] }, { authors: [b.pubkey] }, { authors: [a.pubkey, b.pubkey], kinds: [7] }];
      same(await counted(client, ofA, ofB), 4, "apart");
      same(await counted(client, ofA, sevens), 3, "overlapping");
      same(await counted(client, ofA, ofA), 2, "the same twice");
      same(await counted(client, ofA, { ids: [events[0].id, events[2].id] }, sevens), 4, "three that overlap");
    },
  },
  {
    name: "COUNT sees a replaceable event once",
    async run({ author, connect, store, counted }) {
      const who = author();
      const client = await connect(who);
      for (const ago of [30, 20, 10]) {
        for (const kind of [10078, 30078]) await store(client, who.sign({ kind, tags: [["d", "x"]], created_at: now() - ago }));
      }
      same(await counted(client, { authors: [who.pubkey] }), 2, "versions");
    },
  },
  {
    name: "COUNT does not see a deleted event (NIP-09)",
    async run({ advertises, author, connect, store, counted }) {
      if (!advertises(9)) throw skip("NIP-09 is not advertised");
      const who = author();
      const client = await connect(who);
      const gone = who.sign({ content: "gone" });
      await store(client, gone, who.sign({ content: "stays" }));
      same(await counted(client, { authors: [who.pubkey], kinds: [1] }), 2, "before");
      await store(client, who.sign({ kind: 5, tags: [["e", gone.id]] }));
      same(await counted(client, { authors: [who.pubkey], kinds: [1] }), 1, "after");
    },
  },
  {
    name: "COUNT is not bound by max_limit",
    async run({ connect, counted, flood }) {
      const { who, events } = await flood();
      same(await counted(await connect(), { authors: [who.pubkey] }), events.length, "one more than max_limit");
    },
  },
  {
    name: "COUNT answers once and opens no subscription",
    async run({ author, connect, store, watch }) {
      const who = author();
      const client = await connect(who);
      await store(client, who.sign({ content: "stored" }));
      client.send(["COUNT", "counting", { authors: [who.pubkey] }]);
      const answer = await client.take(([verb, id]) => verb === "COUNT" && id === "counting", "COUNT");
      same([answer.length, answer[2].count], [3, 1], "COUNT");
      const live = await watch(client, { authors: [who.pubkey], limit: 0 });
      const event = await store(client, who.sign({ content: "live" }));
      sameEvents(await live.upTo(event), [event], "live");
      same(client.drain(([, id]) => id === "counting"), [], "further frames of the COUNT");
    },
  },
  {
    name: "a COUNT that is refused gets CLOSED with a reason",
    async run({ connect, count }) {
      const client = await connect();
      for (const filters of [[{ ids: ["short"] }], [{ kinds: ["1"] }], [{ limit: 0 }, { since: "now" }], []]) {
        const answer = await count(client, ...filters);
        same(answer[0], "CLOSED", `COUNT ${JSON.stringify(filters)}`);
        reasoned(answer, [], "CLOSED");
      }
    },
  },
  {
    name: "hll of an event id: the largest value of a register, zeros past a byte",
    async run(context) {
      const { author } = context;
      const value = unique();
      const offset = offsetOf(value);
      // Three share a register, the largest value neither the first nor the last; one has a whole byte of zeros.
      const low = authorWith(author, offset, ({ value }) => value === 1);
      const { register } = entry(low.pubkey, offset);
      const high = authorWith(author, offset, (found) => found.register === register && found.value > 1);
      const last = authorWith(author, offset, (found) => found.register === register && found.value < entry(high.pubkey, offset).value);
      const long = authorWith(author, offset, ({ value }) => value > 8);
      await compare(context, "e", value, [low, ...many(author), high, long, low, last]);
    },
  },
  { name: "hll of a pubkey", run: (context) => compare(context, "p", unique(), many(context.author)) },
  { name: "hll of an address takes its pubkey", run: (context) => compare(context, "a", `30023:${unique()}:some:name`, many(context.author)) },
  { name: "hll of any other text takes its sha256", run: (context) => compare(context, "t", `text ${unique()}`, many(context.author)) },
  { name: "hll with an empty result is all zeros, with an author only theirs", run: narrowHll },
];

async function narrowHll(context) {
  const who = context.author();
  const value = unique();
  await compare(context, "E", value, [who, who], { authors: [who.pubkey] });
  const none = await context.count(await context.connect(), { kinds: [7], "#E": [unique()] });
  same([none[2]?.count, /[^0]/.test(none[2]?.hll ?? "")], [0, false], "count and registers of nothing");
}
