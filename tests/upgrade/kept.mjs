// Databases as releases wrote them: of each in migrations/shipped.json a market's rows (RELEASE.sql), and what it answered
// (RELEASE.json). A release keeps its own by `node tests/upgrade/kept.mjs RELEASE`.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, bin, tryRun } from "../../scripts/run.mjs";

const FOLDER = join(ROOT, "migrations");
const SHIPPED = JSON.parse(readFileSync(join(FOLDER, "shipped.json"), "utf8"));
/** Marks a file as a relay's, as the program does it. */
const APPLICATION = 0x6e657873;

/** Each release whose databases are upgraded. */
export const RELEASES = Object.keys(SHIPPED);

/** The files that a release has shipped, those of the releases before it among them: shipped.json is in their order. */
const files = (release) => RELEASES.slice(0, RELEASES.indexOf(release) + 1).flatMap((one) => Object.keys(SHIPPED[one]));

const path = (release, ending) => join(ROOT, "tests/upgrade", `${release}.${ending}`);

const EVENT = /^\["EVENT","(\d+)",(.*)\]$/s;

/** A copy of what was said in which each text of a list became what `change` makes of it. */
const changed = (said, change) => Object.fromEntries(Object.entries(said).map(([question, answer]) => [question, Array.isArray(answer) ? answer.map(change) : answer]));

/** The events that a release's market is told apart by, and what it answered; each event stands in the file once. */
export function kept(release) {
  const { told, events, said } = JSON.parse(readFileSync(path(release, "json"), "utf8"));
  const whole = (text) => (typeof text === "string" ? text.replace(/^EVENT (\d+) (\w+)$/, (_, sub, id) => `["EVENT","${sub}",${events[id]}]`) : text);
  return { told, said: changed(said, whole) };
}

/** The text from which `kept` has them: a line for each event and each answer. */
function text(told, all) {
  const events = {};
  const short = (text) => {
    const [, sub, event] = EVENT.exec(text) ?? [];
    if (event === undefined) return text;
    const { id } = JSON.parse(event);
    events[id] = event;
    return `EVENT ${sub} ${id}`;
  };
  const said = changed(all, short);
  const lines = (map) => `{\n${Object.entries(map).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`).join(",\n")}\n}`;
  return `{"told": ${lines(told)},\n"events": ${lines(events)},\n"said": ${lines(said)}}\n`;
}

/** Makes a native database of a release. */
export async function makeFile(release, file) {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(file);
  for (const name of files(release)) db.exec(readFileSync(join(FOLDER, name), "utf8"));
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA user_version = ${files(release).length}; PRAGMA application_id = ${APPLICATION}`);
  db.exec(readFileSync(path(release, "sql"), "utf8"));
  db.close();
}

/** SQL that makes a database of a release in an object, as the Worker does it. */
export function ownOf(release) {
  const made = files(release).map((name, n) => `${readFileSync(join(FOLDER, name), "utf8")};\nINSERT INTO migrations VALUES (${n + 1}, '${name}');`);
  const notes = "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL);";
  return [notes, ...made, readFileSync(path(release, "sql"), "utf8")].join("\n");
}

/**
 * A local D1, in a folder that is gone after the test: `apply` has wrangler apply migrations of ours by name, and others by
 * path; `d1` runs another of its commands. `persist` is for `startRelay`.
 */
export function localD1(t) {
  const folder = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = readFileSync(join(ROOT, "wrangler.toml"), "utf8").replace(/^database_id = .*$/m, 'database_id = "nexus"');
  writeFileSync(join(folder, "wrangler.toml"), config);
  mkdirSync(join(folder, "migrations"));
  process.env.WRANGLER_SEND_METRICS = "false";
  process.env.CI ??= "1"; // or it asks
  const d1 = (...args) => tryRun(bin("wrangler"), ["d1", ...args, "--local", "--persist-to", folder, "--config", join(folder, "wrangler.toml")]);
  const apply = (names = [], others = []) => {
    for (const name of names) cpSync(join(FOLDER, name), join(folder, "migrations", name));
    for (const other of others) cpSync(join(ROOT, other), join(folder, "migrations", other.split("/").at(-1)));
    return d1("migrations", "apply", "DB");
  };
  return { folder, persist: join(folder, "v3"), d1, apply };
}

/** Makes a local D1 of a release. */
export function makeD1(release, { apply, d1 }) {
  for (const made of [apply(files(release)), d1("execute", "DB", "--file", path(release, "sql"))]) if (made.failed) throw new Error(made.failed);
}

/** All rows of a database as statements. */
function rows(db) {
  // A text with a sign that ends lines for some.
  const plain = (sql) => sql.replaceAll("\u0001", "' || char(1) || '");
  const lines = ["DELETE FROM totals;"];
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name").all();
  for (const { name } of tables) {
    const columns = db.prepare(`SELECT name FROM pragma_table_info('${name}')`).all().map(({ name }) => name);
    const values = columns.map((column) => `quote(${column})`).join(" || ', ' || ");
    for (const { row } of db.prepare(`SELECT ${values} AS row FROM ${name} ORDER BY 1`).all()) {
      lines.push(`INSERT INTO ${name} (${columns.join(", ")}) VALUES (${plain(row)});`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Keeps what this version writes as that of a release. */
async function keep(release) {
  if (!RELEASES.includes(release)) throw new Error(`migrations/shipped.json does not say what ${release} ships`);
  const [{ start }, { SETTINGS, reachable }, { VARS, answers, fill }] = await Promise.all([
    import("../support/native.mjs"),
    import("../support/relay.mjs"),
    import("./market.mjs"),
  ]);
  const persist = mkdtempSync(join(tmpdir(), "nexus-"));
  const open = async () => reachable(await start({ vars: { ...SETTINGS, ...VARS }, persist }));
  const first = await open();
  const told = await fill(first);
  await first.stop();
  const again = await open();
  const said = await answers(again, told);
  await again.stop();
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(join(persist, "nexus.sqlite"));
  writeFileSync(path(release, "sql"), rows(db));
  db.close();
  writeFileSync(path(release, "json"), text(told, said));
  rmSync(persist, { recursive: true });
}

if (fileURLToPath(import.meta.url) === process.argv[1]) await keep(process.argv[2]);
