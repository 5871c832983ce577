// NIP-40: expiration.
import { expect, now, same, sameEvents, skip, sleep } from "./context.mjs";

export const nip = 40;

/** An event that expires `lives` seconds after it was created. */
const mortal = (who, lives, rest = {}) => {
  const created_at = rest.created_at ?? now();
  return who.sign({ ...rest, created_at, tags: [...(rest.tags ?? []), ["expiration", `${created_at + lives}`]] });
};
/** Just into the second in which an event expires: an `<=` that should be a `<` shows. */
const expiryOf = async (event) => {
  const at = Number(event.tags.find(([name]) => name === "expiration")[1]) * 1000;
  expect(Date.now() < at, "the relay was too slow: the event expired before the check");
  await sleep(at + 250 - Date.now());
};

export const checks = [
  {
    name: "an event that has expired is refused with invalid:, neither stored nor seen",
    async run({ author, connect, store, refuse, watch, read }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(client, { authors: [who.pubkey] });
      await refuse(client, mortal(who, 10, { created_at: now() - 20 }), ["invalid"], "an event expired 10 s ago");
      await refuse(client, who.sign({ tags: [["expiration", "1"]] }), ["invalid"], "an event expired in 1970");
      const event = await store(client, mortal(who, 3600));
      sameEvents(await live.upTo(event), [event], "live");
      sameEvents(await read(client, { authors: [who.pubkey] }), [event], "stored");
    },
  },
  {
    name: "an expiration that is no Unix time is refused with invalid:",
    async run({ author, connect, store, refuse, read }) {
      const who = author();
      const client = await connect(who);
      const wrong = ["soon", "", "-1", `${now() + 3600}.5`, `${now() + 3600}s`, "1e12", "0x7fffffff", new Date(Date.now() + 3600_000).toISOString()];
      for (const value of wrong) await refuse(client, who.sign({ tags: [["expiration", value]] }), ["invalid"], `expiration ${JSON.stringify(value)}`);
      await refuse(client, who.sign({ tags: [["expiration"]] }), ["invalid"], "an expiration without a value");
      const event = await store(client, who.sign({ tags: [["expiration", `${now() + 3600}`]] }));
      sameEvents(await read(client, { authors: [who.pubkey] }), [event], "stored");
    },
  },
  {
    name: "an event is served until the second it expires, and no longer",
    async run({ author, connect, store, read }) {
      const who = author();
      const client = await connect(who);
      const kept = who.sign({ created_at: now() - 10, tags: [["expiration", `${now() + 3600}`]] });
      const older = who.sign({ created_at: now() - 20 });
      const event = mortal(who, 3);
      await store(client, kept, older, event);
      sameEvents(await read(client, { authors: [who.pubkey] }), [event, kept, older], "before");
      await expiryOf(event);
      sameEvents(await read(client, { authors: [who.pubkey] }), [kept, older], "by author");
      sameEvents(await read(client, { ids: [event.id] }), [], "by id");
      sameEvents(await read(client, { authors: [who.pubkey], kinds: [1], limit: 1 }), [kept], "with limit 1");
    },
  },
  {
    name: "an expired event is not counted (NIP-45)",
    async run({ author, connect, store, counted, advertises }) {
      if (!advertises(45)) throw skip("NIP-45 is not advertised");
      const who = author();
      const client = await connect(who);
      const event = mortal(who, 3);
      await store(client, who.sign({ created_at: now() - 10 }), event);
      same(await counted(client, { authors: [who.pubkey] }), 2, "before");
      await expiryOf(event);
      same(await counted(client, { authors: [who.pubkey] }), 1, "after");
    },
  },
  {
    name: "an expired event is not found by its tags",
    async run({ author, connect, store, read }) {
      const [who, other] = [author(), author()];
      const client = await connect(who);
      const p = ["p", other.pubkey];
      const event = mortal(who, 3, { tags: [p] });
      const kept = await store(client, who.sign({ tags: [p] }));
      await store(client, event);
      sameEvents(await read(client, { "#p": [other.pubkey] }), [event, kept], "before");
      await expiryOf(event);
      sameEvents(await read(client, { "#p": [other.pubkey] }), [kept], "after");
    },
  },
  {
    name: "an ephemeral event with an expiration to come is sent live",
    async run({ author, connect, store, watch, read }) {
      const who = author();
      const client = await connect(who);
      const live = await watch(client, { authors: [who.pubkey] });
      const event = await store(client, mortal(who, 3600, { kind: 20001 }));
      sameEvents(await live.upTo(event), [event], "live");
      const kept = await store(client, who.sign({}));
      sameEvents(await read(client, { authors: [who.pubkey] }), [kept], "stored");
    },
  },
];
