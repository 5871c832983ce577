// Whether a D1 has the tables that the migrations make, told from what it says of them. It changes nothing.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./run.mjs";

/** Where the tables are defined. */
export const MIGRATIONS = join(ROOT, "migrations");

/** The migrations of a folder, in their order. */
export const migrations = (folder = MIGRATIONS) => readdirSync(folder).filter((name) => name.endsWith(".sql")).sort();

/** Which of them a database has had, by wrangler's own notes. */
export const HAD = "SELECT name FROM d1_migrations ORDER BY id";

/** Each table and index, with the table it is on and the text that made it. */
export const QUESTION = "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL";

const plain = (sql) =>
  sql
    .replace(/--.*$/gm, "")
    .replace(/\s+/g, " ")
    .replace(/ ?([(),]) ?/g, "$1")
    .replace(/"/g, "")
    .trim();
/** What is on our tables: others are somebody else's, as the database's host's own. */
const known = (rows, tables) => new Map(rows.filter(({ tbl_name }) => tables.has(tbl_name)).map(({ name, sql }) => [name, plain(sql)]));
const same = (one, other) => one.size === other.size && [...one].every(([name, sql]) => other.get(name) === sql);

/** What the database has after each of the migrations, from none to all. */
async function steps(folder) {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(":memory:");
  const made = [[]];
  for (const file of migrations(folder)) {
    db.exec(readFileSync(join(folder, file), "utf8"));
    made.push(db.prepare(QUESTION).all());
  }
  db.close();
  return made;
}

/** How a database that answered `QUESTION` with these rows differs from all that the migrations make, or null. */
export async function difference(rows, folder = MIGRATIONS) {
  const all = await steps(folder);
  const tables = new Set(all.at(-1).map(({ tbl_name }) => tbl_name));
  const [there, ...made] = [rows, ...all].map((rows) => known(rows, tables));
  if (made.some((step) => same(step, there))) return null;
  const needed = made.at(-1);
  const names = (what, list) => (list.length ? [`${what} ${list.join(", ")}`] : []);
  return [
    ...names("different:", [...needed.keys()].filter((name) => there.has(name) && there.get(name) !== needed.get(name))),
    ...names("missing:", [...needed.keys()].filter((name) => !there.has(name))),
    ...names("not known here:", [...there.keys()].filter((name) => !needed.has(name))),
  ].join("; ");
}
