// What the page asks of its relay over HTTP.

/** Longer than this is no answer. */
const PATIENCE = 8000; // ms

/** Past the browser's own cache: what the relay's edge has is two seconds old at most. */
async function read(path, accept = "application/json") {
  const answer = await fetch(path, { headers: { Accept: accept }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  const body = await answer.json().catch(() => null);
  if (!answer.ok || body === null) throw new Error(body?.error ?? `HTTP ${answer.status}`);
  return body;
}

export const relayUrl = location.origin.replace(/^http/, "ws");
export const readDocument = () => read("/", "application/nostr+json");
export const readStats = () => read("/api/stats");
export const readHistory = (step) => read(`/api/history?step=${step}`);
export const readHandlers = async (kind) => (await read(`/api/handlers?k=${kind}`)).handlers;
