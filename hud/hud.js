// The HUD: shows /api/stats and who the relay is (NIP-11). Reads again every two seconds while the
// page is seen, and says how old the numbers are when the relay cannot be reached.

const EVERY = 2000; // ms
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const text = (value) => (value === null ? "…" : number.format(value));
const rejected = (stats) => Object.entries(stats.events.rejected).filter(([, count]) => count > 0);

/** Heading, then label and value of each number. */
const SECTIONS = [
  ["Jobs", (s) => [
    ["requested", s.jobs && s.jobs.requested],
    ["with feedback", s.jobs && s.jobs.with_feedback],
    ["with result", s.jobs && s.jobs.with_result],
    ["median to result, ms", s.jobs && s.jobs.time_to_result.p50_ms],
    ["providers of the last hour", s.providers && s.providers.active_last_hour],
  ]],
  ["Connections", (s) => [
    ["open", s.connections.open],
    ["authenticated", s.connections.authenticated],
    ["subscriptions", s.subscriptions],
  ]],
  ["Events", (s) => [
    ["stored", s.events.stored],
    ["accepted since wake", s.events.accepted],
    ["sent since wake", s.events.sent],
  ]],
  ["Refused", (s) => [...rejected(s), ["requests for events", s.reqs_refused], ["authentications", s.auth.rejected]]],
  ["Storage", (s) => [
    ["groups committed", s.storage.commits.count - s.storage.commits.failed],
    ["failed", s.storage.commits.failed + s.storage.queries.failed],
    ["last commit, ms", s.storage.commits.last_ms],
    ["last query, ms", s.storage.queries.last_ms],
    ["rows read this month", s.storage.rows.read],
    ["rows written this month", s.storage.rows.written],
  ]],
  ["Since wake", (s) => [
    ["seconds", s.uptime_seconds],
    ["bytes in", s.bytes.received],
    ["bytes out", s.bytes.sent],
  ]],
];

function element(name, content) {
  const made = document.createElement(name);
  made.append(...[content].flat());
  return made;
}

function show(stats) {
  const sections = SECTIONS.map(([heading, rows]) => {
    const list = rows(stats).flatMap(([label, value]) => [element("dt", label), element("dd", text(value))]);
    return element("section", [element("h2", heading), element("dl", list)]);
  });
  byId("numbers").replaceChildren(...sections);
}

async function introduce() {
  byId("url").textContent = location.origin.replace(/^http/, "ws");
  const answer = await fetch("/", { headers: { Accept: "application/nostr+json" } });
  const relay = await answer.json();
  byId("name").textContent = document.title = relay.name;
  byId("description").textContent = relay.description;
}

let readAt = null;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/api/stats");
    if (!answer.ok) throw new Error((await answer.json()).error);
    show(await answer.json());
    readAt = Date.now();
    byId("state").textContent = "Live";
  } catch (error) {
    const age = readAt === null ? "" : ` These numbers are ${Math.round((Date.now() - readAt) / 1000)} s old.`;
    byId("state").textContent = `The relay cannot be reached: ${error.message}.${age}`;
  }
}

introduce().catch(() => {});
refresh();
setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
