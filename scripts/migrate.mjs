// The migrations on a D1 binding, where there is no wrangler between.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./run.mjs";

/** Makes the tables, unless they are there. */
export async function migrate(db) {
  if (await db.prepare("SELECT name FROM sqlite_master WHERE name = 'totals'").first()) return;
  const folder = join(ROOT, "migrations");
  for (const file of readdirSync(folder).sort()) {
    const sql = readFileSync(join(folder, file), "utf8").replace(/--.*$/gm, "");
    for (const statement of sql.split(";")) if (statement.trim()) await db.prepare(statement).run();
  }
}
