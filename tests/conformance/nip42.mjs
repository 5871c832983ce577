// NIP-42: authentication of clients.
import { expect, now, reasoned, same, sameEvents, skip } from "./context.mjs";

export const nip = 42;

const HOUR = 3600;

/** A connection that has proven nothing, and its challenge. */
async function challenged({ connectBare, challenge }) {
  const client = await connectBare();
  const text = await challenge(client);
  if (text === null) throw skip("the relay sends no challenge");
  return { client, text };
}

/** Whether the connection counts as `who`'s; null where nothing depends on that. */
async function isProven({ advertises, limits, publish, request }, client, who) {
  if (advertises(70)) return (await publish(client, who.sign({ tags: [["-"]] })))[2];
  if (limits.auth_required) return Boolean((await request(client, { limit: 0 })).eose);
  return null;
}

/** AUTH events that prove nothing, made from a good one's author, challenge and another connection's challenge. */
const WORTHLESS = {
  "with a made-up challenge": ({ authEvent }, who) => authEvent(who, "0123456789abcdef0123456789abcdef"),
  "with the challenge of another connection": ({ authEvent }, who, _, elsewhere) => authEvent(who, elsewhere),
  "without a challenge": ({ relayUrl }, who) => who.sign({ kind: 22242, tags: [["relay", relayUrl]] }),
  "without a relay": (_, who, text) => who.sign({ kind: 22242, tags: [["challenge", text]] }),
  "for another relay": ({ authEvent }, who, text) => authEvent(who, text, { tags: [["relay", "wss://elsewhere.example"], ["challenge", text]] }),
  "of another kind": ({ authEvent }, who, text) => authEvent(who, text, { kind: 27235 }),
  "an hour old": ({ authEvent }, who, text) => authEvent(who, text, { created_at: now() - HOUR }),
  "an hour ahead": ({ authEvent }, who, text) => authEvent(who, text, { created_at: now() + HOUR }),
  "with a forged sig": ({ authEvent }, who, text) => ({ ...authEvent(who, text), sig: who.sign({}).sig }),
  "with another's pubkey put in": ({ authEvent, author }, who, text) => ({ ...authEvent(author(), text), pubkey: who.pubkey }),
  "altered after signing": ({ authEvent }, who, text, elsewhere) => ({ ...authEvent(who, elsewhere), tags: authEvent(who, text).tags }),
};

export const checks = [
  {
    name: "a challenge comes on connect",
    async run({ connectBare, challenge }) {
      const client = await connectBare();
      const frame = await client.take(([verb]) => verb === "AUTH", "challenge", 3000).catch(() => null);
      if (frame === null && (await challenge(await connectBare())) !== null) throw skip("it comes on demand, which NIP-42 allows");
      expect(frame !== null, "no challenge, neither on connect nor when private messages are asked for");
      same([frame.length, typeof frame[1]], [2, "string"], "AUTH");
    },
  },
  {
    name: "every connection gets its own challenge",
    async run(context) {
      const texts = [];
      for (let n = 0; n < 3; n++) texts.push((await challenged(context)).text);
      expect(texts.every((text) => typeof text === "string" && text.length >= 8), `too short: ${texts}`);
      same(new Set(texts).size, 3, "different challenges");
    },
  },
  {
    name: "a good AUTH event gets OK true and proves the key",
    async run(context) {
      const { client, text } = await challenged(context);
      const who = context.author();
      expect((await isProven(context, client, who)) !== true, "the key counts as proven before AUTH");
      const event = context.authEvent(who, text);
      const answer = await context.authenticate(client, event);
      same(answer.slice(0, 3), ["OK", event.id, true], "AUTH");
      same([answer.length, typeof answer[3]], [4, "string"], "OK");
      expect((await isProven(context, client, who)) !== false, "the key does not count as proven");
    },
  },
  ...Object.entries(WORTHLESS).map(([what, make]) => ({
    name: `an AUTH event ${what} is refused and proves nothing`,
    async run(context) {
      const { client, text } = await challenged(context);
      const { text: elsewhere } = await challenged(context);
      const who = context.author();
      const answer = await context.authenticate(client, make(context, who, text, elsewhere));
      same(answer[2], false, `AUTH ${what}`);
      reasoned(answer, [], `AUTH ${what}`);
      expect((await isProven(context, client, who)) !== true, "the key counts as proven");
      same((await context.authenticate(client, context.authEvent(who, text)))[2], true, "the good AUTH event afterwards");
    },
  })),
  {
    name: "a connection may prove several keys",
    async run(context) {
      const { client, text } = await challenged(context);
      const whos = [context.author(), context.author(), context.author()];
      for (const who of whos) same((await context.authenticate(client, context.authEvent(who, text)))[2], true, "AUTH");
      if (!context.advertises(70)) throw skip("NIP-70 is not advertised, nothing depends on which keys are proven");
      for (const who of whos) expect(await isProven(context, client, who), "a proven key was forgotten");
      expect(!(await isProven(context, client, context.author())), "a key that was not proven counts as proven");
    },
  },
  {
    name: "a proven key counts on its own connection alone",
    async run(context) {
      const who = context.author();
      const { client, text } = await challenged(context);
      const { client: other } = await challenged(context);
      same((await context.authenticate(client, context.authEvent(who, text)))[2], true, "AUTH");
      const proven = await isProven(context, other, who);
      if (proven === null) throw skip("nothing here depends on AUTH");
      same([proven, await isProven(context, client, who)], [false, true], "proven on the other connection, on its own");
    },
  },
  {
    name: "kind 22242 is never stored or sent to anybody",
    async run(context) {
      const { author, connect, watch, publish, store, read } = context;
      const who = author();
      const client = await connect(who);
      const live = await watch(client, [{ authors: [who.pubkey] }, { kinds: [22242], authors: [who.pubkey] }]);
      const { client: second, text } = await challenged(context);
      const event = context.authEvent(who, text);
      same((await context.authenticate(second, event))[2], true, "AUTH");
      await publish(second, event); // the answer is the relay's choice
      await publish(client, who.sign({ kind: 22242 }));
      const control = await store(client, who.sign({ content: "seen" }));
      sameEvents(await live.upTo(control), [control], "live");
      sameEvents(await read(client, { authors: [who.pubkey] }, { kinds: [22242], limit: 5 }), [control], "stored");
    },
  },
  {
    name: "before AUTH an EVENT, a REQ and a COUNT get auth-required:, where AUTH is required",
    async run(context) {
      const { limits, advertises, author, connect, count, publish, read, request } = context;
      if (!limits.auth_required) throw skip("AUTH is not required here; NIP-17 and NIP-70 check where it is");
      const { client, text } = await challenged(context);
      const who = author();
      const event = who.sign({ content: "too early" });
      const answer = await publish(client, event);
      same(answer[2], false, "EVENT");
      reasoned(answer, ["auth-required"], "EVENT");
      const { closed } = await request(client, { authors: [who.pubkey] });
      expect(closed, "REQ got an EOSE");
      reasoned(closed, ["auth-required"], "REQ");
      if (advertises(45)) {
        const refusal = await count(client, { authors: [who.pubkey] });
        same(refusal[0], "CLOSED", "COUNT");
        reasoned(refusal, ["auth-required"], "COUNT");
      }
      sameEvents(await read(await connect(), { authors: [who.pubkey] }), [], "stored");
      same((await context.authenticate(client, context.authEvent(who, text)))[2], true, "AUTH");
      same((await publish(client, event))[2], true, "EVENT after AUTH");
      sameEvents(await read(client, { authors: [who.pubkey] }), [event], "REQ after AUTH");
    },
  },
];
