// NIP-90, encrypted jobs: who may read their answers.
import { same, sameEvents, skip } from "./context.mjs";
import { FEEDBACK, RESULT, ask, cancel, feedback, needsMarket, people, result } from "./market.mjs";

/**
 * Who may read which answers of an encrypted job, with a connection each, and a public event with the same
 * tags. The request comes after them if they are `late`, and never if it is `unknown`.
 */
async function secret(context, { late, unknown }) {
  await needsMarket(context);
  const [customer, provider, rival, stranger] = await people(context, 4);
  const job = ask(customer, [["encrypted"]]);
  const tags = unknown ? [["encrypted"]] : [];
  const [report, done] = [feedback(provider, job, "processing", tags), result(provider, job, { tags })];
  const other = result(rival, job, { tags, content: "5" });
  const note = rival.sign({ tags: [["e", job.id], ["p", customer.pubkey]] });
  const publishAll = async () => {
    if (!late && !unknown) await context.store(customer.client, job);
    await context.store(provider.client, report, done);
    await context.store(rival.client, other);
    if (late) await context.store(customer.client, job);
    await context.store(rival.client, note);
  };
  const kinds = [1, RESULT, FEEDBACK];
  const filters = [
    { kinds, "#e": [job.id] },
    { ids: [report, done, other, note].map((event) => event.id) },
    { kinds, "#p": [customer.pubkey], limit: 10 },
    { kinds, authors: [provider.pubkey, rival.pubkey] },
  ];
  const readers = [
    ["the customer", customer, [report, done, other, note]],
    ["a provider", provider, [report, done, note]],
    ["another provider", rival, [other, note]],
    ["a stranger", stranger, [note]],
  ];
  return { publishAll, filters, readers, narrow: { kinds: [RESULT, FEEDBACK], "#e": [job.id] } };
}

const servedSecretly = (when) => async (context) => {
  const { connectBare, read, request } = context;
  const { publishAll, filters, narrow, readers } = await secret(context, when);
  await publishAll();
  for (const filter of filters) {
    for (const [what, { client }, seen] of readers) sameEvents(await read(client, filter), seen, what);
  }
  sameEvents((await request(await connectBare(), narrow)).events, [], "a client without a key"); // CLOSED will do, too
};

const countedSecretly = (when) => async (context) => {
  if (!context.advertises(45)) throw skip("NIP-45 is not advertised");
  const { publishAll, filters, narrow, readers } = await secret(context, when);
  await publishAll();
  for (const [what, { client }, seen] of readers) {
    for (const filter of filters) same(await context.counted(client, filter), seen.length, `${what}'s count`);
    const [, , { count, hll }] = await context.count(client, narrow);
    same([count, /[^0]/.test(hll ?? "")], [seen.length - 1, hll !== undefined && seen.length > 1], `${what}'s answers`);
  }
};

const sentSecretly = (when) => async (context) => {
  const { publishAll, filters, readers } = await secret(context, when);
  const watching = await Promise.all(readers.map(([, { client }]) => context.watch(client, filters)));
  await publishAll();
  for (const [at, [what, , seen]] of readers.entries()) sameEvents(await watching[at].upTo(seen.at(-1)), seen, what);
};

const secrets = [
  ["answers to an encrypted job", {}],
  ["answers that say encrypted, to a job unknown here,", { unknown: true }],
  ["answers that came before their encrypted job", { late: true }],
];

/** The customer takes the request away; a provider who has not heard of it goes on reporting. */
async function cancelledSecretly(context) {
  await needsMarket(context);
  const { publish, read, store, watch } = context;
  const [customer, provider, stranger] = await people(context, 3);
  const job = await store(customer.client, ask(customer, [["encrypted"]]));
  await store(customer.client, cancel(customer, job));
  const [secretly, note] = [feedback(provider, job, "partial"), provider.sign({ tags: [["e", job.id]] })];
  const filter = { kinds: [1, FEEDBACK], "#e": [job.id] };
  const live = await watch(stranger.client, filter);
  await publish(provider.client, secretly); // may be refused
  await store(provider.client, note);
  sameEvents(await live.upTo(note), [note], "live to a stranger");
  sameEvents(await read(stranger.client, filter), [note], "stored, to a stranger");
}

export const encryptedChecks = [
  ...secrets.flatMap(([what, when]) => [
    { name: `${what} are served to the customer and their authors alone`, run: servedSecretly(when) },
    ...(when.late ? [] : [{ name: `${what} are sent live to the same`, run: sentSecretly(when) }]),
    { name: `${what} are counted for the same (NIP-45)`, run: countedSecretly(when) },
  ]),
  { name: "feedback to an encrypted job that is cancelled is kept from strangers", run: cancelledSecretly },
];
