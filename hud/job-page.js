// A job's page: what /api/jobs/ID says of it, read once in a while until the job is over; to its parties more, when
// they sign for it with the key that an extension has (NIP-07, NIP-98). The key never enters the page.
import { byId, element, fillTable, setText } from "./dom.js";
import { exactMoment, moment, number, span, time } from "./format.js";
import { MEANING, kindLabel } from "./market.js";
import { jobUrl, needsProof, readJob } from "./reads.js";
import { allowance, rounds } from "./rounds.js";

const TICK = 1000; // ms
/** What is younger is not read again when somebody comes back. */
const FRESH = 2; // s
/** A job that has come so far may be answered again, but seldom is. */
const OVER = ["success", "error", "expired", "cancelled"];
const PROOF = 27_235;

const id = location.pathname.split("/").at(-1);
const now = () => Date.now() / 1000;
const round = rounds();
const mayAsk = allowance();
let readAt = null;
let failure = null;
let lost = false; // whether it makes no sense to ask again
let readingSince = null;
let proven = false; // whether a party is shown what it has signed for
let print = "";
let due;

const short = (key) => ({ text: `${key.slice(0, 8)}…`, title: key, mark: "name" });

function after(seconds) {
  clearTimeout(due);
  // A proof is good for one reading.
  if (!document.hidden && !lost && !proven) due = setTimeout(refresh, seconds * 1000);
}

async function refresh() {
  if (document.hidden || readingSince !== null || lost || proven) return;
  if (!mayAsk(now())) return after(round.next(false, now()));
  readingSince = now();
  try {
    const job = await readJob(id);
    [readAt, failure] = [now(), null];
    const changed = print !== (print = JSON.stringify(job));
    show(job);
    after(round.next(changed && !OVER.includes(job.state), now()));
  } catch (error) {
    if (failure === null) round.again();
    failure = error.message;
    lost = error.status === 400 || error.status === 404 || needsProof(error);
    if (lost) nothing(error);
    after(round.next(true, now()));
  }
  readingSince = null;
  tell();
}

/** Says why nothing is shown; who may be a party can prove it. */
function nothing(error) {
  byId("unknown").hidden = false;
  setText(byId("unknown-why"), `${error.message}.`);
  if (!needsProof(error)) return;
  byId("known").hidden = false;
  byId("known").querySelector(".columns").hidden = byId("answered").hidden = true;
  offer(error.message);
}

function tell() {
  const state = lost ? "lame" : failure !== null ? "stale" : "live";
  if (state === "live" && readAt === null) return;
  document.body.dataset.state = byId("state").dataset.state = state;
  setText(byId("state-text"), { lame: "Not shown", stale: `The relay cannot be reached (${failure})`, live: proven ? "As your key may see it" : "Live" }[state]);
  const age = readAt === null || lost ? "" : ` – read ${span(now() - readAt)} ago`;
  setText(byId("age"), age);
}

function show(job) {
  byId("unknown").hidden = true;
  byId("known").hidden = false;
  byId("known").querySelector(".columns").hidden = byId("answered").hidden = false;
  const word = job.state.replace("-", " ");
  setText(byId("title"), `Job: ${word}`);
  document.title = `Job ${id.slice(0, 8)}…: ${word}`;
  showWay(job);
  showAsked(job);
  showAnswers(job);
  byId("more").hidden = !job.more;
  if (job.more) offer(job.more);
}

function showWay({ states }) {
  const begun = states[0]?.at_ms ?? null;
  const line = ({ state, at_ms: at }) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `var(--${state})`;
    const later = at !== null && begun !== null && at > begun ? `after ${time(at - begun)}` : "";
    return element(
      "li",
      { "data-state": state },
      swatch,
      element("b", {}, state.replace("-", " ")),
      element("span", { class: "when" }, at === null ? "not known when" : exactMoment(at)),
      element("span", { class: "meaning" }, MEANING[state]),
      element("span", { class: "later" }, later),
    );
  };
  byId("way").replaceChildren(...states.map(line));
}

function showAsked(job) {
  const everybody = job.asked === null && job.kind !== null;
  const asked = job.asked?.map(({ pubkey }) => pubkey).join(" ");
  const left = job.asked_left_out > 0 ? ` and ${number(job.asked_left_out)} more` : "";
  const privacy = { true: "for the parties alone", false: "for everybody", null: "not known" }[job.encrypted];
  const shown = job.answers !== undefined;
  const lines = [
    ["Kind", shown && (job.kind === null ? "the request is not known here" : kindLabel(job.kind))],
    ["Customer", shown && (job.customer ?? "not known")],
    ["Asked", shown && (everybody ? "everybody" : asked ? `${asked}${left}` : "not known")],
    ["Offered", job.bid_msats && `${number(job.bid_msats)} msats`],
    ["Answers are", privacy],
    ["First feedback", job.first_feedback_ms && exactMoment(job.first_feedback_ms)],
    ["First result", job.first_result_ms && exactMoment(job.first_result_ms)],
    ["First result by", job.first_result_by],
    ["Kept until", job.expires_at && moment(job.expires_at)],
  ];
  byId("asked").replaceChildren(
    ...lines.filter(([, value]) => value).map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", { class: "keys" }, value))),
  );
}

function showAnswers({ answers, answers_left_out: more, states }) {
  byId("answered").hidden = answers === undefined;
  if (answers === undefined) return;
  const begun = states[0]?.at_ms ?? null;
  const what = ({ kind, status, counts }) => {
    const said = kind === 7000 ? (status ?? "feedback") : "result";
    return counts ? said : { text: `${said} (moves nothing)`, title: "its author was not asked, or what it says is not clear" };
  };
  const rows = answers.map((answer) => [
    short(answer.pubkey),
    what(answer),
    String(answer.kind),
    exactMoment(answer.at_ms),
    begun === null || answer.at_ms < begun ? "–" : time(answer.at_ms - begun),
    answer.amount_msats === null ? "–" : `${number(answer.amount_msats)} msats`,
  ]);
  const caption = rows.length === 0 ? "Nobody has answered yet" : more ? "In the order they came; there are more" : "In the order they came";
  fillTable(byId("answers"), caption, ["Provider", "Answer", "Kind", "Came", "After", "Amount"], rows);
}

/** Says that a party may see more, and lets it prove that it is one. */
function offer(text) {
  byId("more").hidden = false;
  const can = globalThis.nostr !== undefined;
  setText(byId("more-text"), `${text[0].toUpperCase()}${text.slice(1)}.${can ? "" : " This page can ask an extension for the signature (NIP-07); there is none here."}`);
  byId("prove").hidden = !can;
}

async function prove() {
  const said = (text, bad = false) => {
    setText(byId("prove-said"), text);
    byId("prove-said").classList.toggle("bad", bad);
  };
  try {
    said("Waiting for the signature…");
    const tags = [["u", jobUrl(id)], ["method", "GET"]];
    const event = await globalThis.nostr.signEvent({ kind: PROOF, created_at: Math.floor(now()), tags, content: "" });
    const job = await readJob(id, `Nostr ${btoa(JSON.stringify(event))}`);
    [proven, lost, failure, readAt] = [true, false, null, now()];
    clearTimeout(due);
    show(job);
    byId("more").hidden = false;
    setText(byId("more-text"), `${job.more ? `${job.more[0].toUpperCase()}${job.more.slice(1)}` : "What is shown is what this key may see"}. Signing again reads it anew.`);
    said("");
  } catch (error) {
    said(`Not done: ${error?.message ?? error}.`, true);
  }
  tell();
}

setText(byId("id"), id);
setText(byId("json"), `/api/jobs/${id.slice(0, 8)}…`);
byId("json").href = jobUrl(id);
byId("prove").addEventListener("click", prove);

function look() {
  clearTimeout(due);
  if (document.hidden) return;
  round.again();
  if (readAt === null || failure !== null || now() - readAt >= FRESH) refresh();
  else after(round.next(true, now()));
}
look();
setInterval(() => document.hidden || tell(), TICK);
document.addEventListener("visibilitychange", look);
