// A line for each protocol message that passes in the Try-it panel. Pure.

const OUT = {
  AUTH: () => "answers the challenge: an event of kind 22242, signed with the new key, names relay and challenge (NIP-42)",
  REQ: ([, , filter]) =>
    filter.kinds?.includes(7000)
      ? "subscribes to what will name its job: feedback (7000) and results (6050)"
      : "subscribes to jobs (5050), here those of this buyer alone",
  EVENT: ([, event]) => sent(event),
  CLOSE: () => "ends a subscription",
};

const IN = {
  AUTH: () => "the relay's challenge: prove a key before anything else (NIP-42)",
  OK: ([, , taken, reason], told) => {
    if (!taken) return `refused: ${reason}`;
    return told === 22242 ? "accepted: the key is proven" : "accepted: the event is in the database. Nobody was told of it before";
  },
  EOSE: () => "that was all that is stored; what comes from here on is live",
  EVENT: ([, , event]) => received(event),
  CLOSED: ([, , reason]) => `the relay ended the subscription: ${reason}`,
  NOTICE: ([, text]) => `the relay says: ${text}`,
};

function sent(event) {
  if (event.kind === 5050) return "publishes the job request: its input, signed (NIP-90)";
  if (event.kind === 7000) return "tells the customer that it works on the job (feedback)";
  return "delivers the result: kind 6050 is the request's kind plus 1000";
}

function received(event) {
  const tag = (name) => event.tags.find(([key]) => key === name)?.[1];
  if (event.kind === 5050) return "the job, live from the relay: it has just been stored";
  if (event.kind === 7000) return `feedback from the provider: ${tag("status")}${tag("amount") ? ` (${tag("amount")} msats)` : ""}`;
  return "the result. The job is done";
}

/** Explains messages; an OK by the kind of event it answers, which it remembers. */
export function explainer() {
  const kinds = new Map();
  return (way, message) => {
    const [verb, what] = message;
    if (way === "out" && typeof what === "object") kinds.set(what.id, what.kind);
    return (way === "out" ? OUT : IN)[verb]?.(message, kinds.get(what)) ?? "";
  };
}

/** The message on a line: keys, ids and signatures by their beginning. */
export function brief(message) {
  return JSON.stringify(message).replace(/\b([0-9a-f]{6})[0-9a-f]{58,122}\b/g, "$1…");
}
