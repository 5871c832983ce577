// The HUD: reads the relay's numbers every two seconds while the page is seen, hands them to the parts
// that show them, and says how old they are when the relay cannot be reached.
import { npubEncode } from "nostr-tools/nip19";
import { byId, setText } from "./dom.js";
import { span } from "./format.js";
import { STATES, sum } from "./market.js";
import * as numbers from "./numbers.js";
import { pace } from "./pace.js";
import * as plots from "./plots.js";
import * as providers from "./providers.js";
import { readDocument, readHistory, readStats, relayUrl } from "./reads.js";
import * as trial from "./try.js";

const EVERY = 2100; // ms between readings: a little longer than the relay shares an answer
const SELDOM = 10_000; // ms between readings of history and providers
/** While a reading has taken longer, the relay is said not to be reached. */
const SLOW = 5000; // ms

const eventsASecond = pace();
let readAt = null; // of the last good reading
let failure = null; // why there was none since
let known = true; // whether the relay's database answers
let readingSince = null; // while one is under way
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

async function refresh() {
  if (document.hidden || readingSince !== null) return;
  readingSince = Date.now();
  try {
    const stats = await readStats();
    readAt = Date.now();
    failure = null;
    known = stats.jobs !== null;
    numbers.show(stats, eventsASecond.add(stats.events.stored, stats.uptime_seconds));
    providers.known(kinds(stats));
    if (!introduced) introduce().catch(() => {}); // with the next reading, then
  } catch (error) {
    failure = error.message;
  }
  readingSince = null;
  tell();
}

function kinds({ jobs }) {
  const all = Object.entries(jobs?.by_kind ?? {}).sort(([, a], [, b]) => sum(b, STATES) - sum(a, STATES));
  return all.map(([kind]) => kind).filter((kind) => kind !== "*");
}

/** Says whether the numbers are live; their age ticks outside of what is read aloud. */
function tell() {
  const age = readAt === null ? null : Date.now() - readAt;
  const stale = failure !== null || (readingSince !== null && Date.now() - readingSince > SLOW);
  if (!stale && age === null) return;
  const state = stale ? "stale" : known ? "live" : "lame";
  const text = { stale: `The relay cannot be reached${failure ? ` (${failure})` : ""}`, live: "Live", lame: "The database does not answer" };
  document.body.dataset.state = byId("state").dataset.state = state;
  setText(byId("state-text"), text[state]);
  const old = age === null ? " – no numbers yet" : ` – these numbers are ${span(age / 1000)} old`;
  setText(byId("age"), stale ? old : "");
}

const chosenStep = () => new FormData(byId("steps")).get("step");

async function refreshHistory() {
  if (document.hidden) return;
  const step = chosenStep();
  try {
    const history = await readHistory(step);
    if (step === chosenStep()) plots.show(history, step);
  } catch (error) {
    // What is drawn of this step stays, as it is not wrong.
    if (step === chosenStep() && plots.drawnStep() !== step) plots.say(`The history cannot be read: ${error.message}`);
  }
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
byId("copy").addEventListener("click", copy);
byId("steps").addEventListener("change", refreshHistory);
numbers.build();
plots.build();
providers.build();
trial.build();

function look() {
  if (document.hidden) return;
  refresh();
  refreshHistory();
  providers.refresh();
}
look();
setInterval(refresh, EVERY);
setInterval(tell, 1000);
setInterval(refreshHistory, SELDOM);
setInterval(() => document.hidden || providers.refresh(), SELDOM);
document.addEventListener("visibilitychange", look);
