// Miniflare's D1 over a pipe: reads one JSON line [{sql, params}, …], runs it as one batch and writes
// one JSON line {rows} or {error}. `meta` in the answer is D1's own count of rows read and written.
import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { Miniflare } from "miniflare";

const miniflare = new Miniflare({
  modules: true,
  script: "export default { fetch() { return new Response(null, { status: 404 }) } }",
  d1Databases: { DB: "nexus" },
});
const db = await miniflare.getD1Database("DB");
for (const file of readdirSync("migrations").sort()) {
  const sql = readFileSync(`migrations/${file}`, "utf8").replace(/--.*$/gm, "");
  for (const statement of sql.split(";")) if (statement.trim()) await db.prepare(statement).run();
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const statements = JSON.parse(line).map(({ sql, params }) => db.prepare(sql).bind(...params));
    const results = await db.batch(statements);
    answer = {
      rows: results.map(({ results }) => results.map(({ r }) => r)),
      meta: results.map(({ meta }) => ({ read: meta.rows_read, written: meta.rows_written })),
    };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await miniflare.dispose();
