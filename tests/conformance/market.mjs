// What the checks of the market share: events of a job, people who deal with each other, and who is listed.
import { expect, now, reasoned, same, sameEvents, skip, sleep, unique } from "./context.mjs";

/** A kind of job (NIP-90), the kind of its results, and that of feedback. */
export const KIND = 5050;
export const RESULT = KIND + 1000;
export const FEEDBACK = 7000;

/** A customer's job request, unlike any other. */
export const ask = (customer, tags = [], rest = {}) =>
  customer.sign({ kind: KIND, tags: [["i", "What is two and two?", "text"], ...tags], content: unique(), ...rest });
/** A provider's answers to a job. */
export const result = (provider, job, { tags = [], ...rest } = {}) =>
  provider.sign({ kind: job.kind + 1000, content: "4", tags: [["e", job.id], ["p", job.pubkey], ...tags], ...rest });
export const feedback = (provider, job, status, tags = []) =>
  provider.sign({ kind: FEEDBACK, tags: [["status", status], ["e", job.id], ["p", job.pubkey], ...tags] });
/** The customer's kind 5 cancels; anybody else's should not. */
export const cancel = (who, job) => who.sign({ kind: 5, tags: [["e", job.id], ["k", `${job.kind}`]] });

/** Whether the relay ranks handlers over HTTP. */
const ranksHandlers = (context) =>
  context.once("ranks handlers", async () => {
    const answer = await fetch(new URL("/api/handlers?k=5050", context.http)).catch(() => null);
    return answer?.status === 200 && /json/.test(answer.headers.get("content-type") ?? "");
  });

/** Skips where job events are stored and nothing is known of them. */
export async function needsMarket(context) {
  const knows = await context.once("knows of jobs", async () => {
    if (await ranksHandlers(context)) return true;
    const who = context.author();
    const answer = await context.publish(await context.connect(who), who.sign({ kind: FEEDBACK }));
    return answer[2] === false && answer[3].startsWith("invalid:");
  });
  if (!knows) throw skip("this relay takes feedback without any tag: it does not look at jobs");
}

/** So many people, each with a connection that has proven their key. */
export async function people({ author, connect }, number) {
  const whos = Array.from({ length: number }, () => author());
  return Promise.all(whos.map(async (who) => ({ ...who, client: await connect(who) })));
}


/**
 * Events of one author, each wrong in the tag named: all are refused with `invalid:` and that name,
 * and the good ones are taken, stored and sent live.
 */
export const malformed = (kind, good, wrong) => async (context) => {
  await needsMarket(context);
  const { author, connect, publish, read, store, watch } = context;
  const who = author();
  const client = await connect(who);
  const live = await watch(client, { authors: [who.pubkey] });
  for (const [tag, tags, content = ""] of wrong) {
    const isContent = tag === "content";
    const shown = isContent ? content : JSON.stringify(tags.filter(([name]) => name === tag));
    const what = `${tag} in ${shown}`;
    const answer = await publish(client, who.sign({ kind, tags, content }));
    expect(answer[2] === false, `not refused: ${what}`);
    reasoned(answer, ["invalid"], what);
    const names = isContent ? /content/ : new RegExp(`\\b${tag}\\W? tag\\b|\\btag \\W?${tag}\\b`);
    expect(names.test(answer[3]), `${what}: not named in ${JSON.stringify(answer[3])}`);
  }
  const taken = good.map((tags, at) => who.sign({ kind, tags, created_at: now() - good.length + at }));
  await store(client, ...taken);
  sameEvents(await live.upTo(taken.at(-1)), taken, "live");
  sameEvents(await read(client, { authors: [who.pubkey] }), taken, "stored");
};

/** A provider's handler information (NIP-89) for these kinds. */
export const announce = (who, kinds, { d = "main", tags = [], ...rest } = {}) =>
  who.sign({ kind: 31990, tags: [["d", d], ...kinds.map((kind) => ["k", `${kind}`]), ...tags], ...rest });

/** A kind of job that this run has not used: what is known of a kind's handlers may be kept for a while. */
export async function freshKind(context) {
  const used = await context.once("kinds", () => new Set());
  const kind = 5100 + Math.floor(Math.random() * 800);
  if (used.has(kind)) return freshKind(context);
  used.add(kind);
  return kind;
}

/** Skips where handlers are not ranked. */
export async function needsHandlers(context) {
  if (!(await ranksHandlers(context))) throw skip("there is no /api/handlers here");
}

/** `GET /api/handlers` with a query. */
export async function askHandlers(context, query) {
  await needsHandlers(context);
  return fetch(new URL(`/api/handlers${query}`, context.http), { signal: AbortSignal.timeout(10_000) });
}

/** Handlers of a kind, the best first, once all `whos` are among them: another run may just have asked for it. */
export async function handlersOf(context, kind, ...whos) {
  for (const end = Date.now() + 20_000; ; await sleep(2000)) {
    const answer = await askHandlers(context, `?k=${kind}`);
    same(answer.status, 200, "status");
    const { handlers } = await answer.json();
    expect(Array.isArray(handlers), "handlers is no list");
    const missing = whos.filter((who) => !handlers.some(({ pubkey }) => pubkey === who.pubkey));
    if (missing.length === 0) return handlers;
    expect(Date.now() < end, `${missing.length} of ${whos.length} handlers are not listed after 20 s`);
  }
}
