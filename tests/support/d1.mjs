// Miniflare's D1 over a pipe: reads one JSON line [{sql, params}, …], runs it as one batch and writes
// one JSON line {rows} or {error}. `meta` in the answer is D1's own count of rows read and written.
import { Miniflare, convertV4MiniflareOptions as options } from "miniflare";
import { migrate } from "../../scripts/migrate.mjs";

// The batch is made inside the Worker: over Miniflare's proxy each prepare() and bind() is a round trip.
const script = `export default {
  async fetch(request, { DB }) {
    try {
      const statements = (await request.json()).map(({ sql, params }) => DB.prepare(sql).bind(...params));
      const results = await DB.batch(statements);
      return Response.json({
        rows: results.map(({ results }) => results.map(({ r }) => r)),
        meta: results.map(({ meta }) => ({ read: meta.rows_read, written: meta.rows_written, size: meta.size_after })),
      });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
}`;
const miniflare = new Miniflare(options({ modules: true, script, d1Databases: { DB: "nexus" } }));
const db = await miniflare.getD1Database("DB");
await migrate(db);

/** Lines end with a line feed alone: node:readline ends them with what JSON may hold, too, as U+2028. */
async function* lines(input) {
  let begun = "";
  for await (const chunk of input.setEncoding("utf8")) {
    const whole = (begun + chunk).split("\n");
    begun = whole.pop();
    yield* whole;
  }
}

for await (const body of lines(process.stdin)) {
  const answer = await miniflare.dispatchFetch("http://d1/", { method: "POST", body });
  process.stdout.write(`${await answer.text()}\n`);
}
await miniflare.dispose();
