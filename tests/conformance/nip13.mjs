// NIP-13: proof of work.
import { difficulty, expect, mine, now, sameEvents, skip } from "./context.mjs";

export const nip = 13;

/** The work the relay asks for, or a skip. */
function demanded({ limits }) {
  const bits = limits.min_pow_difficulty ?? 0;
  if (bits === 0) throw skip("min_pow_difficulty is 0");
  if (bits > 22) throw skip(`min_pow_difficulty of ${bits} takes too long to mine`);
  return bits;
}

/** A signed event whose id has a difficulty that is `enough`, committing to `commit`. */
function mined(who, enough, commit, content = "") {
  const template = { kind: 1, created_at: now(), tags: [], content };
  return who.sign(mine(template, who.pubkey, enough, commit), { bits: 0 });
}

/** A signed event that nobody worked for. */
function idle(who, bits, kind = 1) {
  for (let n = 0; ; n++) {
    const event = who.sign({ kind, content: `idle ${n}` }, { bits: 0 });
    if (difficulty(event.id) < bits) return event;
  }
}

export const checks = [
  {
    name: "a mined event with a committed target is accepted",
    async run({ limits, author, connect, store, read }) {
      const bits = Math.max(8, limits.min_pow_difficulty ?? 0);
      if (bits > 22) throw skip(`min_pow_difficulty of ${bits} takes too long to mine`);
      const who = author();
      const client = await connect(who);
      const event = mined(who, (found) => found >= bits, bits);
      expect(difficulty(event.id) >= bits, `mined ${difficulty(event.id)} bits, not ${bits}`);
      await store(client, event);
      sameEvents(await read(client, { authors: [who.pubkey] }), [event], "stored");
    },
  },
  {
    name: "an event without work is refused with pow:",
    async run(context) {
      const bits = demanded(context);
      const who = context.author();
      const client = await context.connect(who);
      await context.refuse(client, idle(who, bits), ["pow"], "an event without a nonce");
      const claimed = mined(who, (found) => found < bits, bits);
      await context.refuse(client, claimed, ["pow"], `an id that does not keep its target of ${bits}`);
      sameEvents(await context.read(client, { authors: [who.pubkey] }), [], "stored");
    },
  },
  {
    name: "one bit less than min_pow_difficulty is refused, just enough is accepted",
    async run(context) {
      const bits = demanded(context);
      const who = context.author();
      const client = await context.connect(who);
      await context.refuse(client, mined(who, (found) => found === bits - 1, bits), ["pow"], `${bits - 1} bits`);
      const enough = await context.store(client, mined(who, (found) => found === bits, bits));
      sameEvents(await context.read(client, { authors: [who.pubkey] }), [enough], "stored");
    },
  },
  {
    name: "a committed target below min_pow_difficulty is refused, whatever luck the id had",
    async run(context) {
      const bits = demanded(context);
      const who = context.author();
      const client = await context.connect(who);
      await context.refuse(client, mined(who, (found) => found >= bits, bits - 1), ["pow"], `a target of ${bits - 1}`);
      const higher = await context.store(client, mined(who, (found) => found > bits, bits + 1));
      sameEvents(await context.read(client, { authors: [who.pubkey] }), [higher], "stored");
    },
  },
  {
    name: "work is asked of ephemeral events, too",
    async run(context) {
      const bits = demanded(context);
      const who = context.author();
      const client = await context.connect(who);
      const live = await context.watch(client, { authors: [who.pubkey] });
      await context.refuse(client, idle(who, bits, 20001), ["pow"], "an ephemeral event without work");
      const worked = await context.store(client, who.sign({ kind: 20001 }));
      sameEvents(await live.upTo(worked), [worked], "live");
    },
  },
];
