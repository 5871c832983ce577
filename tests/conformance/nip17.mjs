// NIP-17, with NIP-59 and NIP-04: who may read private messages (kinds 4, 1059 and 21059).
import { now, reasoned, same, sameEvents, skip } from "./context.mjs";

export const nip = 17;
/** NIP-59 asks for the same. */
export const alsoAdvertisedAs = [59];

/**
 * A message from `writer` to two `readers`, a public event by the same key, and connections: one for
 * each reader, and strangers, among whom is the key of a gift wrap itself.
 */
async function scene({ author, connect }, kind) {
  const [writer, recipient, second, stranger, sender] = Array.from({ length: 5 }, () => author());
  const template = {
    kind,
    created_at: now() - 10,
    // A stranger's key anywhere but in a p tag's first value opens nothing.
    tags: [["p", recipient.pubkey, stranger.pubkey], ["P", stranger.pubkey], ["e", stranger.pubkey], ["p", second.pubkey]],
    content: "sealed",
  };
  const open = kind === 4 ? [recipient, second, writer] : [recipient, second];
  const readers = await Promise.all(open.map((who) => connect(who)));
  const strangers = await Promise.all((kind === 4 ? [stranger] : [stranger, writer]).map((who) => connect(who)));
  return {
    writer, recipient, stranger, readers, strangers,
    publisher: await connect(kind === 4 ? writer : sender),
    message: writer.sign(template),
    note: writer.sign({ content: "public" }),
  };
}

/** Filters that match the message and not the public event. */
const narrow = ({ message, recipient, writer }) => [
  { ids: [message.id] },
  { kinds: [message.kind], authors: [writer.pubkey] },
  { kinds: [message.kind], "#p": [recipient.pubkey] },
  { "#p": [recipient.pubkey] },
  { "#p": [recipient.pubkey], since: now() - 60, limit: 5 },
];

const stored = (kind) => async (context) => {
  const { read, request, store } = context;
  const all = await scene(context, kind);
  const { writer, readers, strangers, publisher, message, note } = all;
  await store(publisher, message, note);
  for (const filter of narrow(all)) {
    for (const client of readers) sameEvents(await read(client, filter), [message], "a reader");
    for (const client of strangers) sameEvents((await request(client, filter)).events, [], "a stranger"); // CLOSED will do, too
  }
  for (const filter of [{ authors: [writer.pubkey] }, { authors: [writer.pubkey], kinds: [1, kind] }, { ids: [message.id, note.id] }]) {
    for (const client of readers) sameEvents(await read(client, filter), [message, note], "a reader of both");
    for (const client of strangers) {
      const { events, closed } = await request(client, filter);
      sameEvents(events, closed ? [] : [note], "a stranger who asks for both");
    }
  }
};

const live = (kind) => async (context) => {
  const { store, watch } = context;
  const all = await scene(context, kind);
  const { writer, recipient, readers, strangers, publisher, message, note } = all;
  const wide = [{ authors: [writer.pubkey] }, { ids: [message.id] }, { "#p": [recipient.pubkey] }];
  const [open, shut] = await Promise.all([readers, strangers].map((clients) => Promise.all(clients.map((client) => watch(client, wide)))));
  await store(publisher, message, note);
  for (const { upTo } of open) sameEvents(await upTo(note), [message, note], "a reader");
  for (const { upTo } of shut) sameEvents(await upTo(note), [note], "a stranger");
};

const counts = (kind) => async (context) => {
  const { advertises, count, counted, store } = context;
  if (!advertises(45)) throw skip("NIP-45 is not advertised");
  const all = await scene(context, kind);
  const { writer, readers, strangers, publisher, message, note } = all;
  await store(publisher, message, note);
  const both = { authors: [writer.pubkey] };
  for (const [filter, hidden, shown] of [...narrow(all).map((filter) => [filter, 0, 1]), [both, 1, 2]]) {
    for (const client of readers) same(await counted(client, filter), shown, "a reader's count");
    for (const client of strangers) {
      const answer = await count(client, filter);
      if (answer[0] === "CLOSED") reasoned(answer, ["restricted", "auth-required"], "a stranger's COUNT");
      else same([answer[2].count, /[^0]/.test(answer[2].hll ?? "")], [hidden, false], "a stranger's count and registers");
    }
  }
};

const withoutKey = (kind) => async (context) => {
  const { connectBare, request, store } = context;
  const all = await scene(context, kind);
  await store(all.publisher, all.message);
  const bare = await connectBare();
  for (const filter of narrow(all)) {
    const { events, closed } = await request(bare, filter);
    sameEvents(events, [], "a client without a key");
    if (closed) reasoned(closed, ["auth-required"], "a client without a key");
  }
  const [first] = narrow(all);
  sameEvents((await request(all.readers[0], first)).events, [all.message], "the recipient");
};

const gated = [
  [4, "a message of NIP-04", "its author and who is p-tagged"],
  [1059, "a gift wrap", "who is p-tagged, not the wrap's own key"],
];

export const checks = [
  ...gated.flatMap(([kind, what, whom]) => [
    { name: `kind ${kind}, ${what}, is served to ${whom}`, run: stored(kind) },
    { name: `kind ${kind} is sent live to the same`, run: live(kind) },
    { name: `kind ${kind} is counted for the same (NIP-45)`, run: counts(kind) },
    { name: `kind ${kind} is not served before AUTH`, run: withoutKey(kind) },
  ]),
  { name: "kind 21059, an ephemeral gift wrap, is sent live to who is p-tagged alone", run: live(21059) },
  {
    name: "kind 21059 is not stored",
    async run(context) {
      const { store, read, watch } = context;
      const { recipient, writer, readers, publisher, message } = await scene(context, 21059);
      const listening = await watch(readers[0], { "#p": [recipient.pubkey] });
      const kept = writer.sign({ kind: 1059, tags: message.tags });
      await store(publisher, message, kept);
      sameEvents(await listening.upTo(kept), [message, kept], "live");
      sameEvents(await read(readers[0], { "#p": [recipient.pubkey] }, { ids: [message.id] }), [kept], "stored");
    },
  },
  {
    name: "each key of a connection opens its messages",
    async run(context) {
      const { author, connect, store, read, watch } = context;
      const [one, two, writer] = [author(), author(), author()];
      const client = await connect(one, two);
      const live = await watch(client, { kinds: [1059], authors: [writer.pubkey] });
      const wraps = [one, two, author()].map((who) => writer.sign({ kind: 1059, tags: [["p", who.pubkey]] }));
      await store(await connect(), wraps[2], wraps[0], wraps[1]);
      sameEvents(await live.upTo(wraps[1]), wraps.slice(0, 2), "live");
      sameEvents(await read(client, { kinds: [1059], authors: [writer.pubkey] }), wraps.slice(0, 2), "stored");
    },
  },
  {
    name: "the recipient's deletion request deletes a gift wrap, a stranger's does not (NIP-59)",
    async run(context) {
      const { advertises, publish, store, read, eventually } = context;
      if (!advertises(9)) throw skip("NIP-09 is not advertised");
      const { recipient, stranger, readers, strangers, publisher, message } = await scene(context, 1059);
      await store(publisher, message);
      const deletion = (who) => who.sign({ kind: 5, tags: [["e", message.id], ["k", "1059"]] });
      await publish(strangers[0], deletion(stranger));
      sameEvents(await read(readers[0], { ids: [message.id] }), [message], "after the stranger's request");
      await store(readers[0], deletion(recipient));
      await eventually(async () => (await read(readers[0], { ids: [message.id] })).length === 0, "the gift wrap is still served");
      await publish(publisher, message);
      sameEvents(await read(readers[0], { ids: [message.id] }), [], "after it was published again");
    },
  },
];
