// What the page asks of its relay over HTTP.

/** Longer than this is no answer. */
const PATIENCE = 8000; // ms

const none = () => {
  throw new Error("no answer");
};

/** Past the browser's own cache: what the relay shares is two seconds old at most. */
async function read(path, accept = "application/json") {
  const answer = await fetch(path, { headers: { Accept: accept }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) }).catch(none);
  const text = await answer.text().catch(none);
  if (answer.ok) return JSON.parse(text);
  let error = `HTTP ${answer.status}`;
  try {
    error = JSON.parse(text).error ?? error;
  } catch {
    // Not the relay's own words: what stands before it.
  }
  throw new Error(error);
}

export const relayUrl = location.origin.replace(/^http/, "ws");
export const readDocument = () => read("/", "application/nostr+json");
export const readStats = () => read("/api/stats");
export const readHistory = (step) => read(`/api/history?step=${step}`);
export const readHandlers = async (kind) => (await read(`/api/handlers?k=${kind}`)).handlers;
