// NIP-01, subscriptions: live events, ids, CLOSE, and the one endpoint.
import WebSocket from "ws";
import { expect, now, reasoned, sameEvents, sleep, unique } from "./context.mjs";

const first = (client, id) => client.take(([verb, of]) => (verb === "EOSE" || verb === "CLOSED") && of === id, `answer to REQ ${id.slice(0, 8)}`);

export const subscriptionChecks = [
  {
    name: "live: what matches comes after EOSE to every subscription, what does not match does not",
    async run({ author, connect, store, watch }) {
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const tag = unique();
      const t = ["t", tag];
      const past = now() - 100;
      const listed = who.sign({ kind: 7, created_at: past + 6 });
      const [one, two, all, named] = [
        await watch(client, [{ "#t": [tag], kinds: [7] }, { "#t": [tag], authors: [other.pubkey] }]),
        await watch(await connect(), { "#t": [tag], since: past, until: past + 10 }),
        await watch(await connect(), { "#t": [tag] }),
        await watch(client, { ids: [listed.id] }),
      ];
      const events = [
        who.sign({ tags: [t] }),
        who.sign({ tags: [t], kind: 7 }),
        who.sign({ tags: [t], created_at: past - 1 }),
        who.sign({ tags: [t], created_at: past }),
        who.sign({ tags: [t], created_at: past + 10 }),
        who.sign({ tags: [t], created_at: past + 11 }),
        who.sign({ tags: [["t", unique()]], kind: 7 }),
        who.sign({ tags: [t], kind: 7, created_at: past + 5 }), // for each of them
      ];
      await store(client, ...events, listed);
      const last = events[7];
      sameEvents(await named.upTo(listed), [listed], "live by id");
      sameEvents(await one.upTo(last), [events[1], last], "live by kind");
      sameEvents(await two.upTo(last), [events[3], events[4], last], "live by since and until");
      sameEvents(await all.upTo(last), [...events.slice(0, 6), last], "live by tag");
    },
  },
  {
    name: "live: limit says nothing about live events",
    async run({ author, connect, store, watch }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(client, { authors: [who.pubkey], limit: 1 });
      const events = ["a", "b", "c"].map((content) => who.sign({ content }));
      const last = await store(client, ...events);
      sameEvents(await live.upTo(last), events, "live");
    },
  },
  {
    name: "live: events published by somebody else while the stored are sent are neither lost nor doubled",
    async run({ author, connect, store, watch }) {
      const who = author();
      const [writer, reader] = [await connect(who), await connect()];
      const events = Array.from({ length: 60 }, (_, at) => who.sign({ content: `${at}` }));
      const writing = (async () => {
        for (const event of events) await store(writer, event);
      })();
      writing.catch(() => {}); // it is awaited below, unless something fails before
      const subscriptions = [];
      for (let n = 0; n < 6; n++) {
        subscriptions.push(await watch(reader, { authors: [who.pubkey] }));
        await sleep(5);
      }
      await writing;
      const last = await store(writer, who.sign({ content: "last" }));
      for (const { stored, upTo } of subscriptions) sameEvents([...stored, ...(await upTo(last))], [...events, last], "stored and live");
    },
  },
  {
    name: "a REQ under a known id replaces the older subscription",
    async run({ author, connect, store, watch }) {
      const who = author();
      const client = await connect(who);
      const [older, newer] = [unique(), unique()];
      await watch(client, { "#t": [older] }, "same");
      const live = await watch(client, { "#t": [newer] }, "same");
      await store(client, who.sign({ tags: [["t", older]] }));
      const event = await store(client, who.sign({ tags: [["t", newer]] }));
      sameEvents(await live.upTo(event), [event], "live");
    },
  },
  {
    name: "CLOSE ends that subscription alone",
    async run({ author, connect, store, watch }) {
      const who = author();
      const client = await connect(who);
      const closed = await watch(client, { authors: [who.pubkey] }, "closed");
      const open = await watch(client, { authors: [who.pubkey] }, "open");
      const before = await store(client, who.sign({ content: "before" }));
      sameEvents(await closed.upTo(before), [before], "before CLOSE");
      client.send(["CLOSE", "closed"]);
      const after = await store(client, who.sign({ content: "after" }));
      sameEvents(await open.upTo(after), [before, after], "the other subscription");
      const rest = client.drain(([verb, id]) => verb === "EVENT" && id === "closed");
      expect(rest.length === 0, "an event came after CLOSE");
    },
  },
  {
    name: "subscription ids belong to their connection",
    async run({ author, connect, store, watch }) {
      const who = author();
      const [one, two] = [await connect(who), await connect()];
      const tag = unique();
      const mine = await watch(one, { "#t": [tag] }, "same");
      const theirs = await watch(two, { "#t": [tag], kinds: [7] }, "same");
      const events = [who.sign({ tags: [["t", tag]] }), who.sign({ tags: [["t", tag]], kind: 7 })];
      await store(one, ...events);
      sameEvents(await mine.upTo(events[1]), events, "of the first");
      sameEvents(await theirs.upTo(events[1]), [events[1]], "of the second");
      two.send(["CLOSE", "same"]);
      two.send(["REQ", "after", { limit: 0 }]);
      await first(two, "after");
      const last = await store(one, who.sign({ tags: [["t", tag]], content: "last" }));
      sameEvents(await mine.upTo(last), [last], "after the second's CLOSE");
    },
  },
  {
    name: "a subscription id may have 64 characters; a longer one gets CLOSED",
    async run({ connect, limits }) {
      const client = await connect();
      const longest = Math.min(64, limits.max_subid_length ?? 64);
      for (const letter of ["x", "ü"]) {
        const [id, over] = [letter.repeat(longest), letter.repeat(65)];
        client.send(["REQ", id, { limit: 0 }]);
        expect((await first(client, id))[0] === "EOSE", `${longest} times ${letter} was refused`);
        client.send(["REQ", over, { limit: 0 }]);
        const answer = await first(client, over);
        expect(answer[0] === "CLOSED", `65 times ${letter} was accepted`);
        reasoned(answer, [], "CLOSED");
      }
    },
  },
  {
    name: "another path is not a second endpoint of the same relay",
    async run({ author, connect, store, url }) {
      const who = author();
      const event = await store(await connect(who), who.sign({ content: "one endpoint" }));
      const socket = new WebSocket(`${url.replace(/\/$/, "")}/conformance-${unique().slice(0, 8)}`);
      const opened = await new Promise((resolve) => socket.on("open", () => resolve(true)).on("error", () => resolve(false)));
      if (!opened) return;
      // It may be a relay of its own; then it does not know this event, and does not ask for AUTH alike.
      const answers = [];
      socket.on("message", (data) => answers.push(JSON.parse(`${data}`)));
      socket.send(JSON.stringify(["REQ", "elsewhere", { ids: [event.id] }]));
      await sleep(1500);
      socket.terminate();
      const alike = ([verb, , what]) => (verb === "EVENT" && what.id === event.id) || (verb === "CLOSED" && `${what}`.startsWith("auth-required:"));
      expect(!answers.some(alike), "a random path answers as the relay itself does");
    },
  },
];
