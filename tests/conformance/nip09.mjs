// NIP-09: deletion requests.
import { expect, now, sameEvents } from "./context.mjs";

export const nip = 9;

const ADDRESSABLE = 30078;
const REPLACEABLE = 10078;
const addressOf = (event) => `${event.kind}:${event.pubkey}:${event.tags.find(([name]) => name === "d")?.[1] ?? ""}`;
/** The author's request to delete events by id or by address. */
const deletion = (who, { e = [], a = [], ...rest }) =>
  who.sign({ kind: 5, tags: [...e.map((event) => ["e", event.id]), ...a.map((address) => ["a", address])], ...rest });

/** Versions of an address: those up to the deletion go and stay away, a newer one is taken. */
const versions = (kind, tags) => async ({ author, connect, store, refuse, publish, read }) => {
  const who = author();
  const client = await connect(who);
  const time = now() - 100;
  const of = (at, content = "") => who.sign({ kind, tags, created_at: time + at, content });
  const [unseen, old, same, newer] = [of(-20), of(-10), of(0, "same second"), of(1)];
  const other = who.sign({ kind: kind + 1, tags, created_at: time - 10 });
  const filter = { authors: [who.pubkey], kinds: [kind, kind + 1] };
  await store(client, old, other);
  sameEvents(await read(client, filter), [old, other], "before");
  await store(client, deletion(who, { a: [addressOf(old)], created_at: time }));
  sameEvents(await read(client, filter), [other], "after the deletion");
  for (const version of [old, unseen, same]) {
    await refuse(client, version, ["blocked"], `a version ${time - version.created_at} s older than the deletion`);
  }
  sameEvents(await read(client, filter), [other], "after they were published again");
  await store(client, newer);
  sameEvents(await read(client, filter), [newer, other], "after a newer version");
  await publish(client, old);
  sameEvents(await read(client, filter), [newer, other], "after the old one was published once more");
};

export const checks = [
  {
    name: "an e tag deletes the author's event, and nothing else",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const [gone, goneToo, stays] = ["a", "b", "c"].map((content) => who.sign({ content }));
      await store(client, gone, goneToo, stays);
      await store(client, deletion(who, { e: [gone, goneToo] }));
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [1] }), [stays], "by author");
      sameEvents(await read(client, { ids: [gone.id, goneToo.id, stays.id] }), [stays], "by id");
    },
  },
  {
    name: "a deleted event stays away when published again",
    async run({ author, connect, store, publish, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who);
      const gone = await store(client, who.sign({ content: "gone" }));
      await store(client, deletion(who, { e: [gone] }));
      for (const publisher of [client, await connect(other)]) {
        await publish(publisher, gone);
        sameEvents(await read(client, { ids: [gone.id] }), [], "after it was published again");
      }
      const fresh = await store(client, who.sign({ content: "fresh" }));
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [1] }), [fresh], "a new event of the author");
    },
  },
  {
    name: "publishing a deleted event again gets OK false with blocked:",
    async run({ author, connect, store, refuse }) {
      const who = author();
      const client = await connect(who);
      const gone = await store(client, who.sign({ content: "gone" }));
      await store(client, deletion(who, { e: [gone] }));
      await refuse(client, gone, ["blocked"], "the deleted event");
    },
  },
  {
    name: "nobody deletes another's events, by e or by a",
    async run({ author, connect, store, publish, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const created_at = now() - 10;
      const addressable = who.sign({ kind: ADDRESSABLE, tags: [["d", "x"]], created_at });
      const events = [who.sign({ created_at }), addressable, who.sign({ kind: REPLACEABLE, created_at })];
      await store(client, ...events);
      const addresses = events.slice(1).map(addressOf);
      // A relay may refuse these (NIP-09, relay usage); either way the events stay.
      await publish(client, deletion(other, { e: events }));
      await publish(client, deletion(other, { a: addresses }));
      sameEvents(await read(client, { authors: [who.pubkey] }), events, "after the other's deletions");
      const own = await store(client, deletion(who, { e: events.slice(0, 1), a: addresses }));
      sameEvents(await read(client, { authors: [who.pubkey] }), [own], "after the author's");
    },
  },
  { name: "an a tag deletes an addressable event's versions up to the deletion", run: versions(ADDRESSABLE, [["d", "name"]]) },
  { name: "an a tag deletes a replaceable event's versions up to the deletion", run: versions(REPLACEABLE, []) },
  {
    name: "an a tag deletes its own d alone, colons and all",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const created_at = now() - 10;
      const [plain, longer, colon] = ["name", "name2", "name:2"].map((d) => who.sign({ kind: ADDRESSABLE, tags: [["d", d]], created_at }));
      await store(client, plain, longer, colon);
      await store(client, deletion(who, { a: [addressOf(plain)] }));
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [ADDRESSABLE] }), [longer, colon], "after the first deletion");
      await store(client, deletion(who, { a: [addressOf(colon)] }));
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [ADDRESSABLE] }), [longer], "after the second");
    },
  },
  {
    name: "a deletion that comes first keeps the event out, its own author's alone",
    async run({ author, connect, store, publish, refuse, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const created_at = now() - 10;
      const [kept, barred] = [who.sign({ created_at }), who.sign({ kind: 7, created_at })];
      const version = who.sign({ kind: ADDRESSABLE, tags: [["d", "x"]], created_at });
      await publish(client, deletion(other, { e: [kept], a: [addressOf(version)] }));
      await store(client, deletion(who, { e: [barred] }));
      await store(client, kept, version);
      await refuse(client, barred, ["blocked"], "the event deleted beforehand");
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [1, 7, ADDRESSABLE] }), [kept, version], "stored");
    },
  },
  {
    name: "the deletion itself is sent live and stays served",
    async run({ author, connect, store, watch, read }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(await connect(), { authors: [who.pubkey], kinds: [5] });
      const gone = await store(client, who.sign({ content: "gone" }));
      const request = await store(client, deletion(who, { e: [gone], content: "by accident" }));
      sameEvents(await live.upTo(request), [request], "live");
      sameEvents(await read(client, { "#e": [gone.id] }, { ids: [gone.id] }), [request], "stored");
    },
  },
  {
    name: "a deletion of a deletion has no effect",
    async run({ author, connect, store, publish, read }) {
      const who = author();
      const client = await connect(who);
      const created_at = now() - 10;
      const gone = await store(client, who.sign({ created_at }));
      const request = await store(client, deletion(who, { e: [gone], created_at }));
      await publish(client, deletion(who, { e: [request], a: [addressOf(request)] }));
      sameEvents(await read(client, { ids: [request.id] }), [request], "the first deletion");
      const again = await publish(client, gone);
      expect(again[2] === false, "the event it deleted was accepted again");
      sameEvents(await read(client, { ids: [gone.id] }), [], "the event it deleted");
    },
  },
  {
    name: "an e tag of one version bars no later version",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const of = (ago) => who.sign({ kind: ADDRESSABLE, tags: [["d", "name"]], created_at: now() - ago });
      const [first, second, third] = [of(30), of(20), of(10)];
      await store(client, first, second);
      await store(client, deletion(who, { e: [second] }));
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [ADDRESSABLE], ids: [second.id] }), [], "the deleted version");
      await store(client, third);
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [ADDRESSABLE] }), [third], "after a new version");
    },
  },
];
