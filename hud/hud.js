// The HUD: reads the relay's numbers once in a while as long as the page is seen, plays what was read until the next
// reading, and says how old it is and when the relay cannot be reached.
import { npubEncode } from "nostr-tools/nip19";
import { byId, setText } from "./dom.js";
import { span } from "./format.js";
import { STATES, sum } from "./market.js";
import * as numbers from "./numbers.js";
import { playback } from "./playback.js";
import * as plots from "./plots.js";
import * as providers from "./providers.js";
import { needsProof, readDocument, readHistory, readStats, relayUrl } from "./reads.js";
import { allowance, rounds, seldom } from "./rounds.js";
import { timeline } from "./timeline.js";
import * as trial from "./try.js";

const TICK = 1000; // ms between two moments that are shown
/** What is younger is not read again when somebody comes back; of history and providers the relay keeps an answer. */
const FRESH = 2; // s
const SELDOM_FRESH = 15; // s
/** While a reading has taken longer, the relay is said not to be reached. */
const SLOW = 5; // s

const now = () => Date.now() / 1000;

const counted = timeline();
const played = playback();
const round = rounds();
const mayAsk = allowance();
const others = { history: seldom(), providers: seldom() };
let newest = null; // the last good reading
let print = ""; // what it says
let readAt = null; // when it was
let failure = null; // why there was none since
let closed = false; // whether the numbers are for the relay's owner
let readingSince = null; // while one is under way
let due; // the timer of the next one
let introduced = false;

async function introduce() {
  const relay = await readDocument();
  introduced = true;
  setText(byId("name"), relay.name);
  document.title = relay.name;
  setText(byId("description"), relay.description);
  const identity = [relay.pubkey && `Operator ${npubEncode(relay.pubkey)}`, relay.contact && `Contact ${relay.contact}`];
  setText(byId("identity"), identity.filter(Boolean).join(" · "));
  byId("identity").hidden = byId("identity").textContent === "";
  const proof = relay.limitation.auth_required ? "A key must be proven (NIP-42). " : "";
  setText(byId("software"), `${proof}Software version ${relay.version}; NIPs ${relay.supported_nips.join(", ")}.`);
}

/** What changes while something happens. */
const printOf = ({ connections, subscriptions, events, jobs }) => JSON.stringify([connections, subscriptions, events.stored, events.rejected, jobs]);

function after(seconds) {
  clearTimeout(due);
  if (!document.hidden && !closed) due = setTimeout(refresh, seconds * 1000);
}

async function refresh() {
  if (document.hidden || readingSince !== null || closed) return;
  if (!mayAsk(now())) return after(round.next(false, now()));
  readingSince = now();
  let changed = false;
  try {
    const stats = await readStats();
    [newest, failure] = [stats, null];
    changed = print !== (print = printOf(stats));
    const next = round.next(changed, now());
    readAt = now();
    counted.add(stats.moments);
    if (counted.end() !== null) played.reach(counted.end(), readAt, next);
    providers.known(kinds(stats));
    after(next);
  } catch (error) {
    if (failure === null) round.again();
    failure = error.message;
    closed = needsProof(error);
    after(round.next(true, now()));
  }
  readingSince = null;
  if (!introduced && mayAsk(now())) introduce().catch(() => {}); // with the next reading, then
  show();
  if (changed) refreshOthers((of) => of.isDue(now()));
}

/** Reads what is read seldom, as far as that is wanted. */
function refreshOthers(isWanted) {
  if (isWanted(others.history) && mayAsk(now())) refreshHistory();
  if (isWanted(others.providers) && mayAsk(now())) refreshProviders();
}

/** Shows the moment that is played. */
function show() {
  tell();
  if (newest === null) return;
  const at = played.at(now());
  const moment = at === null ? null : counted.at(at);
  const { events, jobs } = newest;
  // What a database that does not answer has counted is not known.
  const shown = jobs && moment ? { ...newest, events: { ...events, stored: moment.stored }, jobs: { ...jobs, requested: sum(moment.states, STATES), states: moment.states } } : newest;
  numbers.show(shown, jobs && at !== null ? counted.rate(at) : null);
}

function kinds({ jobs }) {
  const all = Object.entries(jobs?.by_kind ?? {}).sort(([, a], [, b]) => sum(b, STATES) - sum(a, STATES));
  return all.map(([kind]) => kind).filter((kind) => kind !== "*");
}

/** Says whether the numbers are live, and how old they are, which ticks outside of what is read aloud. */
function tell() {
  const age = readAt === null ? null : now() - readAt;
  const stale = failure !== null || (readingSince !== null && now() - readingSince > SLOW);
  if (!stale && age === null) return;
  const state = closed ? "closed" : stale ? "stale" : newest.jobs === null ? "lame" : "live";
  const text = {
    closed: "The numbers are for the relay's owner",
    stale: `The relay cannot be reached${failure ? ` (${failure})` : ""}`,
    live: "Live",
    lame: "The database does not answer",
  };
  document.body.dataset.state = byId("state").dataset.state = state;
  setText(byId("state-text"), text[state]);
  byId("closed").hidden = !closed;
  const old = age === null ? " – no numbers yet" : ` – these numbers are ${span(age)} old`;
  const late = played.late(now());
  const delay = late === null || late < 1 ? "" : ` – events and jobs as they were ${span(late)} ago`;
  setText(byId("age"), { closed: "", stale: old, lame: "", live: delay }[state]);
}

const chosenStep = () => new FormData(byId("steps")).get("step");

async function refreshHistory() {
  const step = chosenStep();
  others.history.done(now());
  try {
    const history = await readHistory(step);
    if (step === chosenStep()) plots.show(history, step);
  } catch (error) {
    // What is drawn of this step stays, as it is not wrong.
    if (step === chosenStep() && plots.drawnStep() !== step) plots.say(`The history cannot be read: ${error.message}`);
  }
}

function refreshProviders() {
  others.providers.done(now());
  providers.refresh();
}

let forget; // what the last copy has said

async function copy() {
  try {
    await navigator.clipboard.writeText(relayUrl);
    setText(byId("said"), "Copied");
    byId("copy").dataset.done = "";
  } catch {
    getSelection().selectAllChildren(byId("url")); // no clipboard here: by hand
    setText(byId("said"), "Selected");
  }
  clearTimeout(forget);
  forget = setTimeout(() => (setText(byId("said"), ""), delete byId("copy").dataset.done), 2000);
}

setText(byId("url"), relayUrl);
setText(byId("with-nak"), `nak event --auth --sec $(nak key generate) -k 5050 -t i='What is a relay?;text' ${relayUrl}`);
setText(byId("with-js"), `node examples/job.mjs ${relayUrl}`);
setText(byId("closed-how"), `nak curl --sec $OWNER ${location.origin}/api/stats`);
byId("copy").addEventListener("click", copy);
byId("steps").addEventListener("change", refreshHistory);
byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`/jobs/${byId("job-id").value.trim()}`);
});
numbers.build();
plots.build();
providers.build(trial.offer);
trial.build();

/** Somebody looks, for the first time or again: what is not new is read, and shown at once. */
function look() {
  clearTimeout(due);
  if (document.hidden) return;
  played.skip();
  round.again();
  if (readAt === null || failure !== null || now() - readAt >= FRESH) refresh();
  else {
    played.reach(counted.end() ?? readAt, readAt, 1);
    after(round.next(true, now()));
  }
  refreshOthers((of) => of.age(now()) >= SELDOM_FRESH);
}
look();
setInterval(() => document.hidden || show(), TICK);
document.addEventListener("visibilitychange", look);
