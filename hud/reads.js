// What the page asks of its relay over HTTP.

/** Longer than this is no answer. */
const PATIENCE = 8000; // ms

const none = () => {
  throw new Error("no answer");
};

/** Past the browser's own cache: what the relay shares is two seconds old at most. */
async function read(path, { accept = "application/json", authorization } = {}) {
  const headers = { Accept: accept, ...(authorization && { Authorization: authorization }) };
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) }).catch(none);
  const text = await answer.text().catch(none);
  if (answer.ok) return JSON.parse(text);
  let error = `HTTP ${answer.status}`;
  try {
    error = JSON.parse(text).error ?? error;
  } catch {
    // Not the relay's own words: what stands before it.
  }
  throw Object.assign(new Error(error), { status: answer.status });
}

/** Whether the relay answers who proves a key, and not everybody. */
export const needsProof = ({ status }) => status === 401 || status === 403;

export const relayUrl = location.origin.replace(/^http/, "ws");
export const readDocument = () => read("/", { accept: "application/nostr+json" });
export const readStats = () => read("/api/stats");
export const readHistory = (step) => read(`/api/history?step=${step}`);
export const readHandlers = async (kind) => (await read(`/api/handlers?k=${kind}`)).handlers;

/** Where a job is read, and the job, to who has signed for it (NIP-98) or not. */
export const jobUrl = (id) => `${location.origin}/api/jobs/${id}`;
export const readJob = (id, authorization) => read(jobUrl(id), { authorization });
