// The migrations on a D1 binding, where there is no wrangler between.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HAD, MIGRATIONS, migrations } from "./schema.mjs";

/** As wrangler makes it. */
const NOTED = `CREATE TABLE IF NOT EXISTS d1_migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`;

/** The statements of a text, without comments. */
function statements(sql) {
  const pieces = sql.match(/--.*|'(?:[^']|'')*'|;|[^-';]+|-/g) ?? [];
  const code = pieces.filter((piece) => !piece.startsWith("--"));
  const all = [""];
  for (const piece of code) piece === ";" ? all.push("") : (all[all.length - 1] += piece);
  return all.filter((statement) => statement.trim());
}

/** Applies the migrations that the database has not had, each whole or not at all, and notes them as wrangler does. */
export async function migrate(db, folder = MIGRATIONS) {
  await db.prepare(NOTED).run();
  const had = (await db.prepare(HAD).all()).results.map(({ name }) => name);
  for (const name of migrations(folder).filter((name) => !had.includes(name))) {
    const all = statements(readFileSync(join(folder, name), "utf8")).map((statement) => db.prepare(statement));
    await db.batch([...all, db.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name)]);
  }
}
