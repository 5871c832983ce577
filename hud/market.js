// What the page knows of jobs: the states in their order, with what they mean, and names of kinds.

/** Under way on the left of the line, done on its right. */
export const UNDER_WAY = ["open", "payment-required", "processing", "partial"];
export const DONE = ["success", "error", "expired", "cancelled"];
export const STATES = [...UNDER_WAY, ...DONE];
/** As the relay orders them: a job only moves on in it. */
export const STATE_ORDER = [...UNDER_WAY, "expired", "error", "success", "cancelled"];

export const MEANING = {
  open: "asked, and nothing heard yet",
  "payment-required": "a provider wants to be paid first",
  processing: "a provider works on it",
  partial: "a part of the result was delivered",
  success: "a result was delivered",
  error: "a provider gave up, none has answered",
  expired: "expired before it was answered",
  cancelled: "its customer deleted the request",
};

const KINDS = {
  5000: "text extraction",
  5001: "summary",
  5002: "translation",
  5050: "text generation",
  5100: "image generation",
  5200: "video conversion",
  5250: "text to speech",
  5300: "content discovery",
  5301: "people discovery",
  5302: "content search",
  5303: "people search",
  5400: "event count",
  5500: "malware scan",
  5900: "timestamp",
  5905: "scheduled publishing",
  5970: "proof of work",
};

/** A kind with its name: `5050 text generation`. The relay counts kinds beyond the first 300 as `*`. */
export const kindLabel = (kind) => (kind === "*" ? "other kinds" : `${kind} ${KINDS[kind] ?? ""}`.trim());
export const sum = (states, names) => names.reduce((all, name) => all + (states[name] ?? 0), 0);
