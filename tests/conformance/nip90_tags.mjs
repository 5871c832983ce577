// NIP-90, tags: which requests, feedback and results are malformed.
import { unique } from "./context.mjs";
import { FEEDBACK, KIND, RESULT, ask, malformed } from "./market.mjs";

const [ID, KEY, OTHER] = [unique(), unique(), unique()];
const notHex = ["x", "", ID.slice(1), `${ID}0`, `A${ID.slice(1).toUpperCase()}`, `g${ID.slice(1)}`, ` ${ID.slice(1)}`];
const notMsats = ["-1", "1.5", "1e3", "0x10", "+5", " 5", "5 sats", "", "many"];
/** Tags that are wrong: without a value, or with one of these. */
const bad = (name, values) => [[name], ...values.map((value) => [name, value])].map((tag) => [name, tag]);
/** Cases for answers: one of the tags `e`, `p` and so on is another, missing, or there is one more. */
const altered = (tags, changes) =>
  changes.map(([name, tag, more]) => [name, [...tags.filter((one) => more || one[0] !== name), ...(tag ? [tag] : [])]]);
const badAnswers = [["e"], ["p"], ["e", ["e", "x"], true], ...bad("e", notHex), ...bad("p", notHex)];
/** Tags that leave doubt: such answers are taken, and move nothing. */
const doubtful = [["p", ["p", OTHER], true], ["p", ["p", "x"], true], ...bad("amount", notMsats)];

const requests = malformed(
  KIND,
  [
    [],
    [["i", ID, "event", "wss://relay.example", "source"], ["i", ID, "job"]],
    [["i", "https://example.com", "url"], ["i", "x"]],
    [["bid", "0"], ["bid", "21000"], ["p", KEY], ["p", OTHER], ["e", ID], ["t", "x"], ["encrypted"]],
    ...bad("bid", notMsats).map(([, tag]) => [tag]),
    [["output", "text/plain"], ["param", "lang", "en"], ["relays", "wss://a.example", "wss://b.example"]],
  ],
  [
    ...["event", "job"].flatMap((type) => notHex.map((value) => ["i", [["i", value, type]]])),
    ["i", [["i", "fine", "text"], ["i", "x", "job"]]],
    ...[...bad("p", notHex), ...bad("e", notHex)].map(([name, tag]) => [name, [tag]]),
    ["p", [["p", KEY], ["p", "x"]]],
  ],
);

const reports = (() => {
  const tags = [["status", "processing", "half way"], ["e", ID, "wss://relay.example"], ["p", KEY]];
  const all = ["payment-required", "processing", "error", "success", "partial"].map((status) => ["status", status]);
  const statuses = ["done", "Success", "open", "expired", "cancelled", "", " error"];
  return malformed(
    FEEDBACK,
    [
      ...all.map((status) => [status, ...tags.slice(1), ["amount", "5000", "lnbc50n1pexample"]]),
      tags,
      [...tags, ["amount", "0"], ["p", KEY], ["encrypted"]],
      [["status", "payment-required"], ...tags.slice(1)],
      [...tags, ["status", "error"]],
      ...altered(tags, [...statuses.map((status) => ["status", ["status", status]]), ...doubtful]).map(([, all]) => all),
    ],
    altered(tags, [["status"], ["status", ["status"]], ...badAnswers]),
  );
})();

const results = async (context) => {
  const customer = context.author();
  const [job, twin, other] = [ask(customer), ask(customer), ask(customer, [], { kind: KIND + 1 })];
  const tags = [["e", job.id, "wss://relay.example"], ["p", customer.pubkey]];
  const texts = ["", "x", "{}", "[]", "null", JSON.stringify(job).slice(0, -1), JSON.stringify({ ...job, tags: 1 })];
  const good = [[...tags, ["request", JSON.stringify(job)], ["i", "x"], ["amount", "5000", "lnbc50n1pexample"]]];
  await malformed(RESULT, good, [
    ...altered(tags, [...badAnswers, ...bad("request", texts), ["request", ["request", JSON.stringify(twin)]]]),
    ["request", [["e", other.id], tags[1], ["request", JSON.stringify(other)]]],
  ])(context);
};

export const tagChecks = [
  { name: "a request with a malformed tag is refused with invalid: and the tag's name", run: requests },
  { name: "feedback with a missing or malformed tag is refused with invalid: and the tag's name", run: reports },
  { name: "a result with a missing or malformed tag is refused with invalid: and the tag's name", run: results },
];
