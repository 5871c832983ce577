// What one reading of /api/stats looks like: the blocks of jobs, the tiles, the tables. Never reads
// anything itself.
import { byId, element, fillTable, setText } from "./dom.js";
import { bytes, dollars, moment, number, percent, rate, span, time } from "./format.js";
import { DONE, MEANING, STATES, UNDER_WAY, kindLabel, sum } from "./market.js";

/** Name, label, value and what stands below it, of a reading `s` and events a second `r`. */
const TILES = [
  ["connections", "Open connections", (s) => number(s.connections.open), (s) => `${number(s.subscriptions)} subscriptions`],
  ["agents", "Authenticated agents", (s) => number(s.connections.authenticated), () => "connections with a proven key"],
  [
    "providers",
    "Providers here",
    (s) => number(s.connections.providers),
    (s) => `${number(s.providers?.active_last_hour)} active in the last hour`,
  ],
  ["rate", "Events a second", (s, r) => rate(r), (s) => `${number(s.events.stored)} stored so far`],
  [
    "open",
    "Open jobs",
    (s) => number(s.jobs?.states.open),
    (s) => `${number(s.jobs && sum(s.jobs.states, UNDER_WAY.slice(1)))} being worked on`,
  ],
  [
    "fill",
    "Fill rate",
    (s) => percent(s.jobs?.fill_rate),
    (s) => `${number(s.jobs?.with_result)} of ${number(s.jobs?.requested)} answered`,
  ],
  [
    "p50",
    "Time to result, median",
    (s) => time(s.jobs?.time_to_result.p50_ms),
    (s) => `first feedback ${time(s.jobs?.time_to_feedback.p50_ms)}`,
  ],
  [
    "p99",
    "Time to result, p99",
    (s) => time(s.jobs?.time_to_result.p99_ms),
    (s) => `of ${number(s.jobs?.time_to_result.count)} results`,
  ],
];

/** Why events are refused, by the prefix of the reason (NIP-01). */
const PREFIXES = {
  "auth-required": "no key proven yet",
  blocked: "a cancelled job, or deleted before",
  duplicate: "answered already, or a newer version is here",
  error: "the relay's own fault",
  invalid: "not well-formed",
  mute: "ephemeral, and nobody listens",
  pow: "too little work in the id",
  "rate-limited": "too fast",
  restricted: "not for this key, or too costly",
  unsupported: "not offered here",
};
const LANES = {
  events: "too fast: events",
  queries: "too fast: questions (REQ, COUNT)",
  bytes: "too fast: bytes",
  answers: "too fast: answers to jobs",
};

/** Draws the parts that stay; what changes is their text. */
export function build() {
  const block = (state) =>
    element(
      "li",
      { class: "block zero", "data-state": state, title: MEANING[state] },
      element("span", { class: "count" }, "–"),
      element("span", { class: "state" }, state.replace("-", " ")),
      element("span", { class: "share" }),
    );
  const row = (title, states) =>
    element("div", {}, element("h3", {}, title), element("ol", {}, states.map(block)));
  byId("blocks").replaceChildren(row("Under way", UNDER_WAY), row("Done", DONE));
  const tile = ([name, label]) =>
    element(
      "div",
      { class: "card", "data-tile": name },
      element("dt", {}, label),
      element("dd", { class: "value" }, "–"),
      element("dd", { class: "below" }),
    );
  byId("tiles").replaceChildren(...TILES.map(tile));
}

export function show(stats, eventsASecond) {
  byId("first").hidden = stats.jobs === null || stats.jobs.requested > 0;
  showBlocks(stats.jobs);
  for (const [name, , value, below] of TILES) {
    const tile = byId("tiles").querySelector(`[data-tile="${name}"]`);
    setText(tile.querySelector(".value"), value(stats, eventsASecond), true);
    setText(tile.querySelector(".below"), below(stats));
  }
  showKinds(stats.jobs);
  showRefused(stats);
  showStorage(stats);
}

function showBlocks(jobs) {
  for (const block of byId("blocks").querySelectorAll(".block")) {
    const count = jobs && jobs.states[block.dataset.state];
    const written = number(count);
    setText(block.querySelector(".count"), written, true);
    block.style.setProperty("--characters", written.length); // so that it fits
    setText(block.querySelector(".share"), count ? percent(count / jobs.requested) : "");
    block.classList.toggle("zero", !count);
  }
}

function showKinds(jobs) {
  const all = (states) => sum(states, STATES);
  const rows = Object.entries(jobs?.by_kind ?? {})
    .sort(([, a], [, b]) => all(b) - all(a))
    .map(([kind, states]) => [
      kindLabel(kind),
      number(all(states)),
      number(states.open ?? 0),
      number(sum(states, UNDER_WAY.slice(1))),
      number(states.success ?? 0),
      number(sum(states, ["error", "expired", "cancelled"])),
    ]);
  const caption = rows.length === 0 ? "No job yet" : "The most asked first";
  fillTable(byId("kinds"), caption, ["Kind", "Jobs", "Open", "In work", "Success", "Unanswered"], rows);
}

function showRefused(stats) {
  const rejected = Object.entries(stats.events.rejected).map(([prefix, count]) => [prefix, number(count), PREFIXES[prefix] ?? ""]);
  const since = stats.since > 0 ? ` since ${moment(stats.since)}` : "";
  fillTable(byId("rejected"), `Events refused${since}, by the reason given`, ["Reason", "Events", "Meaning"], rejected);
  const limited = Object.entries(stats.rate_limited).map(([lane, count]) => [LANES[lane] ?? lane, number(count)]);
  limited.push(["REQs since it woke", number(stats.reqs_refused)], ["AUTHs since it woke", number(stats.auth.rejected)]);
  fillTable(byId("limited"), "What else was refused", ["What", "Times"], limited);
}

function showStorage(stats) {
  const { bytes: size, commits, queries, rows, month_dollars: month, month_dollars_above_included: above } = stats.storage;
  const mean = ({ count, total_ms }) => (count > 0 ? time(total_ms / count) : "–");
  const failed = commits.failed + queries.failed;
  const lines = [
    ["Events stored so far", number(stats.events.stored)],
    ["Database size", bytes(size)],
    [`Rows read in ${rows.month}`, number(rows.read)],
    [`Rows written in ${rows.month}`, number(rows.written)],
    ["Rows taken today, of those allowed", `${number(rows.today)} / ${rows.per_day === null ? "any" : number(rows.per_day)}`],
    ["Rows read a month, at this pace", number(rows.month_read)],
    ["Rows written a month, at this pace", number(rows.month_written)],
    ["D1 a month, for rows", dollars(month.rows)],
    ["D1 a month, for storage", dollars(month.bytes)],
    ["Of these, above the paid plan", dollars(above)],
    ["A commit takes, on average", mean(commits)],
    ["A query takes, on average", mean(queries)],
    ["Questions answered from memory", number(stats.storage.from_memory)],
    ["Awake for", span(stats.uptime_seconds)],
    ["Database failures since then", number(failed), failed > 0],
    ["Received and sent since then", `${bytes(stats.bytes.received)} / ${bytes(stats.bytes.sent)}`],
  ];
  const list = byId("storage");
  if (list.childElementCount === 0) {
    list.append(...lines.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  lines.forEach(([label, value, bad = false], at) => {
    const { firstChild: term, lastChild: text } = list.children[at];
    setText(term, label);
    setText(text, value);
    text.classList.toggle("bad", bad);
  });
}
