// Whether a D1 has the tables that the migrations make, told from what it says of them. It changes nothing.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./run.mjs";

/** Each table and index, with the text that made it. */
export const QUESTION = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL";

/** Tables of the database's host, not ours. */
const FOREIGN = /^(?:sqlite_|_cf_|d1_migrations$)/;
const plain = (sql) =>
  sql
    .replace(/--.*$/gm, "")
    .replace(/\s+/g, " ")
    .replace(/ ?([(),]) ?/g, "$1")
    .replace(/"/g, "")
    .trim();
const known = (rows) => new Map(rows.filter(({ name }) => !FOREIGN.test(name)).map(({ name, sql }) => [name, plain(sql)]));
const same = (one, other) => one.size === other.size && [...one].every(([name, sql]) => other.get(name) === sql);

/** What there is after each of the migrations, from none to all. */
async function steps(folder) {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(":memory:");
  const made = [new Map()];
  for (const file of readdirSync(folder).sort()) {
    db.exec(readFileSync(join(folder, file), "utf8"));
    made.push(known(db.prepare(QUESTION).all()));
  }
  db.close();
  return made;
}

/** How a database that answered `QUESTION` with these rows differs from all that the migrations make, or null. */
export async function difference(rows, folder = join(ROOT, "migrations")) {
  const there = known(rows);
  const made = await steps(folder);
  if (made.some((step) => same(step, there))) return null;
  const needed = made.at(-1);
  const names = (what, list) => (list.length ? [`${what} ${list.join(", ")}`] : []);
  return [
    ...names("different:", [...needed.keys()].filter((name) => there.has(name) && there.get(name) !== needed.get(name))),
    ...names("missing:", [...needed.keys()].filter((name) => !there.has(name))),
    ...names("not known here:", [...there.keys()].filter((name) => !needed.has(name))),
  ].join("; ");
}
