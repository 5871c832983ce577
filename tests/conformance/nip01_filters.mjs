// NIP-01, filters: which stored events a REQ returns, how many and in which order.
import { expect, newestFirst, now, same, sameEvents, unique } from "./context.mjs";

const LETTERS = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];

export const filterChecks = [
  {
    name: "filter: ids, authors and kinds, alone and together",
    async run({ author, connect, store, read }) {
      const [a, b] = [author(), author()];
      const client = await connect(a, b);
      const [a1, a7, b1] = [a.sign({}), a.sign({ kind: 7 }), b.sign({})];
      await store(client, a1, a7, b1);
      const cases = [
        [{ ids: [a1.id, b1.id] }, [a1, b1]],
        [{ ids: [a1.id, unique()] }, [a1]],
        [{ ids: [unique()] }, []],
        [{ authors: [a.pubkey] }, [a1, a7]],
        [{ authors: [a.pubkey, b.pubkey] }, [a1, a7, b1]],
        [{ authors: [a.pubkey, b.pubkey], kinds: [1] }, [a1, b1]],
        [{ authors: [a.pubkey], kinds: [1, 7] }, [a1, a7]],
        [{ authors: [a.pubkey], kinds: [8] }, []],
        [{ authors: [b.pubkey], ids: [a1.id] }, []],
        [{ kinds: [7], ids: [a1.id, a7.id] }, [a7]],
      ];
      for (const [filter, expected] of cases) sameEvents(await read(client, filter), expected, Object.keys(filter).join(" and "));
    },
  },
  {
    name: "filter: every single-letter tag, a to z and A to Z, each by its own name",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const values = LETTERS.map(unique);
      // The other events have each value under the next letter, and under the letter of the other case.
      const [own, next, other] = [0, 1, 26].map((by) => who.sign({ kind: 1111, tags: LETTERS.map((letter, at) => [letter, values[(at + by) % 52]]) }));
      await store(client, own, next, other);
      for (const [at, letter] of LETTERS.entries()) {
        sameEvents(await read(client, { [`#${letter}`]: [values[at]] }), [own], `#${letter}`);
      }
    },
  },
  {
    name: "filter: one value in common is enough, two tag conditions must both hold",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const [t, u, p] = [unique(), unique(), unique()];
      const both = who.sign({ tags: [["t", unique()], ["t", t], ["p", p]] });
      const tOnly = who.sign({ tags: [["t", t], ["p", unique()]] });
      const pOnly = who.sign({ tags: [["t", u], ["p", p]], kind: 7 });
      await store(client, both, tOnly, pOnly);
      sameEvents(await read(client, { "#t": [t] }), [both, tOnly], "#t");
      sameEvents(await read(client, { "#t": [t, u, unique()] }), [both, tOnly, pOnly], "#t with three values");
      sameEvents(await read(client, { "#t": [t, u], "#p": [p] }), [both, pOnly], "#t and #p");
      sameEvents(await read(client, { "#p": [p], kinds: [1] }), [both], "#p and kinds");
      sameEvents(await read(client, { "#t": [t], "#p": [unique()] }), [], "#p of nobody");
    },
  },
  {
    name: "filter: only the first value of a tag is indexed, stored and live",
    async run({ author, connect, store, read, watch }) {
      const who = author();
      const client = await connect(who);
      const [first, second, end] = [unique(), unique(), unique()];
      const live = await watch(client, { "#t": [second, end] });
      const event = await store(client, who.sign({ tags: [["t", first, second], ["p", unique(), second]] }));
      const control = await store(client, who.sign({ tags: [["t", end]] }));
      sameEvents(await live.upTo(control), [control], "live");
      sameEvents(await read(client, { "#t": [second] }), [], "by the second value");
      sameEvents(await read(client, { "#t": [first] }), [event], "by the first value");
    },
  },
  {
    name: "filter: since and until include their second",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const start = now() - 100;
      const events = [0, 1, 2, 3, 4].map((at) => who.sign({ created_at: start + at }));
      await store(client, ...events);
      const authors = [who.pubkey];
      sameEvents(await read(client, { authors, since: start + 3 }), events.slice(3), "since");
      sameEvents(await read(client, { authors, until: start + 1 }), events.slice(0, 2), "until");
      sameEvents(await read(client, { authors, since: start + 1, until: start + 3 }), events.slice(1, 4), "since and until");
      sameEvents(await read(client, { authors, since: start + 2, until: start + 2 }), [events[2]], "one second");
      sameEvents(await read(client, { authors, since: start + 3, until: start + 2 }), [], "since after until");
    },
  },
  {
    name: "filter: limit gives the newest, newest first, ties by the lowest id",
    async run({ author, connect, store, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const start = now() - 100;
      const events = [5, 1, 3, 3, 9, 3, 5, 2].map((at, n) =>
        (n % 2 ? who : other).sign({ created_at: start + at, kind: n % 3 ? 1 : 7, content: `${n}` }),
      );
      await store(client, ...events);
      const ordered = [...events].sort(newestFirst).map((event) => event.id);
      for (let limit = 1; limit <= events.length + 1; limit++) {
        const got = await read(client, { authors: [who.pubkey, other.pubkey], kinds: [1, 7], limit });
        same(got.map((event) => event.id), ordered.slice(0, limit), `limit ${limit}`);
      }
    },
  },
  {
    name: "filter: limit 0 gives EOSE and live events alone",
    async run({ author, connect, store, watch, read }) {
      const who = author();
      const client = await connect(who);
      const before = await store(client, who.sign({ content: "stored" }));
      const live = await watch(client, { authors: [who.pubkey], limit: 0 });
      sameEvents(live.stored, [], "with limit 0");
      sameEvents(await read(client, { authors: [who.pubkey] }), [before], "without limit");
      const event = await store(client, who.sign({ content: "live" }));
      sameEvents(await live.upTo(event), [event], "live");
    },
  },
  {
    name: "filter: an empty list matches nothing, stored or live",
    async run({ author, connect, request, store, read }) {
      const who = author();
      const client = await connect(who);
      const tag = unique();
      const stored = await store(client, who.sign({ tags: [["t", tag]] }));
      const control = { authors: [who.pubkey], kinds: [1], "#t": [tag], ids: [stored.id] };
      for (const list of ["ids", "authors", "kinds", "#t"]) {
        sameEvents((await request(client, { ...control, [list]: [] })).events, [], `${list}: []`);
        sameEvents((await request(client, { [list]: [], limit: 5 })).events, [], `${list}: [] alone`);
        client.send(["REQ", `empty ${list}`, { authors: [who.pubkey], [list]: [] }]);
      }
      sameEvents(await read(client, control), [stored], "without an empty list");
      client.send(["REQ", "full", { authors: [who.pubkey], limit: 0 }]);
      await client.take(([verb, id]) => verb === "EOSE" && id === "full", "EOSE");
      await store(client, who.sign({ tags: [["t", tag]], content: "live" }));
      await client.take(([verb, id]) => verb === "EVENT" && id === "full", "live event");
      const leaked = client.drain(([verb, id]) => verb === "EVENT" && id.startsWith("empty"));
      same(leaked.map(([, id]) => id), [], "live events of empty lists");
    },
  },
  {
    name: "filters of one REQ are alternatives, each with its limit; no event comes twice",
    async run({ author, connect, store, read, watch }) {
      const [a, b] = [author(), author()];
      const client = await connect(a, b);
      const of = (who) => [30, 20, 10].map((ago) => who.sign({ created_at: now() - ago }));
      const [ofA, ofB] = [of(a), of(b)];
      await store(client, ...ofA, ...ofB);
      const both = [{ authors: [a.pubkey], limit: 1 }, { authors: [b.pubkey], limit: 2 }];
      sameEvents(await read(client, ...both), [ofA[2], ofB[1], ofB[2]], "a limit for each filter");
      const overlapping = [{ authors: [a.pubkey] }, { ids: [ofA[0].id, ofB[0].id] }, { authors: [a.pubkey], kinds: [1], limit: 2 }];
      sameEvents(await read(client, ...overlapping), [...ofA, ofB[0]], "filters that overlap");
      const live = await watch(client, overlapping);
      const event = await store(client, a.sign({ content: "live" }));
      sameEvents(await live.upTo(event), [event], "live");
    },
  },
  {
    name: "filter: an unknown key gets CLOSED unsupported:",
    async run({ author, connect, mustClose, read, store }) {
      const who = author();
      const client = await connect(who);
      const event = await store(client, who.sign({ tags: [["alt", "text"]] }));
      for (const unknown of [{ colour: ["red"] }, { "#alt": ["text"] }]) {
        await mustClose(client, ["unsupported"], { authors: [who.pubkey], ...unknown });
      }
      sameEvents(await read(client, { authors: [who.pubkey] }), [event], "without the key");
    },
  },
  {
    name: "filter: ids, authors, #e and #p that are not 64 lower-case hex digits get CLOSED invalid:",
    async run({ author, connect, mustClose, read, store }) {
      const who = author();
      const client = await connect(who);
      const value = unique().replace(/^./, "a");
      const event = await store(client, who.sign({ tags: [["e", value], ["p", value]] }));
      const good = { ids: event.id, authors: who.pubkey, "#e": value, "#p": value };
      for (const [key, whole] of Object.entries(good)) {
        for (const bad of [whole.slice(0, 63), whole.slice(0, 8), `${whole}00`, whole.replace(/^./, "g"), "A".repeat(64)]) {
          await mustClose(client, ["invalid"], { [key]: [bad] });
          await mustClose(client, ["invalid"], { [key]: [whole, bad] });
        }
        sameEvents(await read(client, { [key]: [whole] }), [event], key);
      }
    },
  },
  {
    name: "a REQ whose filters make no sense gets a CLOSED with a reason",
    async run({ connect, mustClose, request }) {
      const client = await connect();
      const wrong = [{ kinds: ["1"] }, { kinds: 1 }, { kinds: [1.5] }, { authors: "all" }, { since: "now" }, { limit: -1 }, { "#t": [1] }];
      for (const filter of [...wrong, "filter", []]) await mustClose(client, [], filter);
      await mustClose(client, [], { limit: 0 }, { since: "now" });
      await mustClose(client, []); // no filter at all
      expect((await request(client, { limit: 0 })).eose, "the connection did not go on");
    },
  },
];
