// NIP-62: requests to vanish.
import { now, same, sameEvents, skip } from "./context.mjs";

export const nip = 62;

/** The kinds of a history, the request's own apart. */
const KINDS = [0, 1, 5, 7, 30078];

const vanish = (who, relays, created_at = now() - 5) =>
  who.sign({ kind: 62, created_at, tags: relays.map((relay) => ["relay", relay]), content: "forget me" });

/**
 * A key with events of every class, the last in the second of the request to come, a deletion among
 * them; and a bystander's event that p-tags it.
 */
async function history({ author, connect, store, read }) {
  const [who, bystander] = [author(), author()];
  const client = await connect(who);
  const time = now() - 60;
  const gone = who.sign({ created_at: time - 20, content: "deleted before" });
  const kept = [
    who.sign({ created_at: time - 10, content: "note" }),
    who.sign({ kind: 0, created_at: time - 9, content: "{}" }),
    who.sign({ kind: 30078, created_at: time - 8, tags: [["d", "x"]] }),
    who.sign({ kind: 5, created_at: time - 7, tags: [["e", gone.id]] }),
    who.sign({ kind: 7, created_at: time, content: "+" }),
  ];
  const about = bystander.sign({ created_at: time, tags: [["p", who.pubkey]] });
  await store(client, gone, ...kept, about);
  sameEvents(await read(client, { authors: [who.pubkey] }), kept, "before the request");
  return { who, client, time, kept, gone, about };
}

/** Waits until nothing of the key is served but, perhaps, the request itself. */
async function forgotten({ eventually, read }, { who, client }) {
  const left = async () => (await read(client, { authors: [who.pubkey] })).filter((event) => event.kind !== 62);
  await eventually(async () => (await left()).length === 0, "events are still served");
}

const deletesAll = (relayOf) => async (context) => {
  const past = await history(context);
  const { who, client, time, kept, about } = past;
  await context.store(client, vanish(who, [relayOf(context)].flat(), time));
  await forgotten(context, past);
  sameEvents(await context.read(client, { ids: kept.map((event) => event.id) }), [], "by id");
  sameEvents(await context.read(client, { "#p": [who.pubkey] }), [about], "the bystander's event");
};

export const checks = [
  { name: "a request that names this relay deletes all of the key up to its second, kind 5 too", run: deletesAll(({ relayUrl }) => relayUrl) },
  { name: "a request that names ALL_RELAYS deletes the same", run: deletesAll(() => "ALL_RELAYS") },
  { name: "a request that names this relay among others deletes the same", run: deletesAll(({ relayUrl }) => ["wss://elsewhere.example", relayUrl]) },
  {
    name: "deleted events are refused with blocked: when published again, by whomever",
    async run(context) {
      const past = await history(context);
      const { who, client, time, kept, gone } = past;
      await context.store(client, vanish(who, [context.relayUrl], time));
      await forgotten(context, past);
      const other = await context.connect();
      for (const event of [...kept, gone]) {
        for (const publisher of [client, other]) await context.refuse(publisher, event, ["blocked"], `kind ${event.kind} again`);
      }
      await forgotten(context, past);
    },
  },
  {
    name: "later events of the key are accepted",
    async run(context) {
      const past = await history(context);
      const { who, client, time } = past;
      await context.store(client, vanish(who, ["ALL_RELAYS"], time));
      await forgotten(context, past);
      const later = [who.sign({ created_at: time + 1, content: "back" }), who.sign({ kind: 0, created_at: time + 1, content: "{}" })];
      await context.store(client, ...later);
      sameEvents(await context.read(client, { authors: [who.pubkey], kinds: [0, 1] }), later, "stored");
    },
  },
  {
    name: "events later than the request are not deleted by it",
    async run(context) {
      const past = await history(context);
      const { who, client, time } = past;
      const later = await context.store(client, who.sign({ created_at: time + 1, content: "later" }));
      await context.store(client, vanish(who, [context.relayUrl], time));
      const upTo = { authors: [who.pubkey], until: time, kinds: KINDS };
      await context.eventually(async () => (await context.read(client, upTo)).length === 0, "events are still served");
      sameEvents(await context.read(client, { authors: [who.pubkey], kinds: [1] }), [later], "stored");
    },
  },
  {
    name: "gift wraps p-tagged to the key are deleted and stay away, others' are not",
    async run(context) {
      const { author, connect, store, read, publish, eventually } = context;
      const [who, other] = [author(), author()];
      const client = await connect(who, other);
      const wrap = (to) => author().sign({ kind: 1059, created_at: now() - 3600, tags: [["p", to.pubkey]] });
      const [mine, theirs] = [wrap(who), wrap(other)];
      await store(client, mine, theirs);
      const both = { ids: [mine.id, theirs.id] };
      sameEvents(await read(client, both), [mine, theirs], "before");
      await store(client, vanish(who, [context.relayUrl]));
      await eventually(async () => (await read(client, { ids: [mine.id] })).length === 0, "the gift wrap is still served");
      sameEvents(await read(client, both), [theirs], "after");
      same((await publish(await connect(), mine))[2], false, "OK for the gift wrap published again");
      sameEvents(await read(client, both), [theirs], "after it was published again");
    },
  },
  {
    name: "a request that names only another relay deletes nothing",
    async run(context) {
      const { who, client, time, kept } = await history(context);
      await context.publish(client, vanish(who, ["wss://elsewhere.example"], time));
      await context.sleep(1500);
      sameEvents((await context.read(client, { authors: [who.pubkey] })).filter((event) => event.kind !== 62), kept, "after the request");
      await context.store(client, who.sign({ created_at: time - 1, content: "not barred" }));
    },
  },
  {
    name: "a request that names no relay, or only another, is refused with invalid:",
    async run(context) {
      const { who, client, time, kept } = await history(context);
      await context.refuse(client, vanish(who, [], time), ["invalid"], "a request without a relay tag");
      await context.refuse(client, vanish(who, ["wss://elsewhere.example"], time), ["invalid"], "a request for another relay");
      await context.refuse(client, vanish(who, ["all_relays"], time), ["invalid"], "ALL_RELAYS in lower case");
      sameEvents(await context.read(client, { authors: [who.pubkey] }), kept, "after the requests");
    },
  },
  {
    name: "a deletion of the request has no effect",
    async run(context) {
      const past = await history(context);
      const { who, client, time, kept } = past;
      const request = await context.store(client, vanish(who, [context.relayUrl], time));
      await forgotten(context, past);
      await context.publish(client, who.sign({ kind: 5, created_at: time + 1, tags: [["e", request.id], ["k", "62"]] }));
      same((await context.publish(client, kept[0]))[2], false, "OK for an event that vanished");
      sameEvents(await context.read(client, { ids: kept.map((event) => event.id) }), [], "after the deletion");
    },
  },
  {
    name: "vanished events are not counted (NIP-45)",
    async run(context) {
      if (!context.advertises(45)) throw skip("NIP-45 is not advertised");
      const past = await history(context);
      const filter = { authors: [past.who.pubkey], kinds: KINDS };
      same(await context.counted(past.client, filter), past.kept.length, "before");
      await context.store(past.client, vanish(past.who, [context.relayUrl], past.time));
      await context.eventually(async () => (await context.counted(past.client, filter)) === 0, "events are still counted");
    },
  },
];
