// NIP-70: protected events.
import { expect, reasoned, same, sameEvents, skip } from "./context.mjs";

export const nip = 70;

const secret = (who, rest = {}) => who.sign({ tags: [["t", "members"], ["-"]], content: "members only", ...rest });

/** Stores a protected event as its author; a relay may refuse them outright. */
async function accepted({ connect, publish }, who, event) {
  const client = await connect(who);
  const answer = await publish(client, event);
  if (answer[2] === false && answer[3].startsWith("blocked:")) throw skip(`protected events are never accepted here: ${answer[3]}`);
  same(answer.slice(2, 3), [true], `OK for the author's own (${answer[3]})`);
  return client;
}

const refused = (make, prefixes) => async (context) => {
  const who = context.author();
  const client = await make(context);
  const event = secret(who);
  await context.refuse(client, event, prefixes, "a protected event");
  sameEvents(await context.read(await context.connect(), { authors: [who.pubkey] }), [], "stored");
  const plain = who.sign({ content: "for all" });
  const author = await accepted(context, who, event);
  await context.store(author, plain);
  sameEvents(await context.read(await context.connect(), { authors: [who.pubkey] }), [event, plain], "stored by the author");
};

/** A repost that embeds a protected event is refused, whoever reposts; others are not. */
const repost = (kind, original) => async (context) => {
  const [who, fan] = [context.author(), context.author()];
  const [hidden, open] = [secret(who, { kind: original }), who.sign({ kind: original, content: "for all" })];
  await accepted(context, who, hidden);
  for (const reposter of [fan, who]) {
    const client = await context.connect(reposter);
    const of = (event, content) => reposter.sign({ kind, tags: [["e", event.id], ["p", event.pubkey], ["k", `${event.kind}`]], content });
    const whose = reposter === who ? "the author" : "another";
    await context.refuse(client, of(hidden, JSON.stringify(hidden)), ["invalid", "blocked", "restricted"], `a repost by ${whose}`);
    const fine = [of(hidden, ""), of(open, JSON.stringify(open))];
    await context.store(client, ...fine);
    sameEvents(await context.read(client, { authors: [reposter.pubkey], kinds: [kind] }), fine, "reposts stored");
  }
};

export const checks = [
  {
    name: "without AUTH a protected event gets auth-required:",
    run: refused(async ({ connectBare }) => connectBare(), ["auth-required"]),
  },
  {
    name: "with AUTH as somebody else it gets restricted:",
    run: refused(async ({ connect }) => connect(), ["restricted"]),
  },
  {
    name: "with AUTH as its author it is accepted, sent and served",
    async run(context) {
      const who = context.author();
      const reader = await context.connect();
      const live = await context.watch(reader, { authors: [who.pubkey] });
      const event = secret(who);
      await accepted(context, who, event);
      sameEvents(await live.upTo(event), [event], "live");
      sameEvents(await context.read(reader, { authors: [who.pubkey] }), [event], "stored");
    },
  },
  {
    name: "ephemeral and replaceable events are protected alike",
    async run(context) {
      const who = context.author();
      const reader = await context.connect();
      const live = await context.watch(reader, { authors: [who.pubkey] });
      const events = [20001, 10078, 30078].map((kind) => secret(who, { kind, tags: [["d", "x"], ["-"]] }));
      for (const event of events) await context.refuse(reader, event, ["restricted"], `kind ${event.kind}`);
      const client = await accepted(context, who, events[0]);
      const last = await context.store(client, ...events.slice(1));
      sameEvents(await live.upTo(last), events, "live");
    },
  },
  {
    name: "a protected event that is stored gets no OK true from another's connection as a new one",
    async run(context) {
      const who = context.author();
      const event = secret(who);
      await accepted(context, who, event);
      const other = await context.publish(await context.connect(), event);
      if (other[2]) reasoned(other, ["duplicate"], "the event published again by another");
      else reasoned(other, ["restricted", "auth-required"], "the event published again by another");
      expect((await context.read(await context.connect(), { ids: [event.id] })).length === 1, "the event is gone");
    },
  },
  { name: "a repost (kind 6) that embeds a protected event is refused", run: repost(6, 1) },
  { name: "a generic repost (kind 16) that embeds a protected event is refused", run: repost(16, 30023) },
];
