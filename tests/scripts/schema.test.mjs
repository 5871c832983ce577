// Which tables are taken for those of this version.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Miniflare, convertV4MiniflareOptions as options } from "miniflare";
import { migrate } from "../../scripts/migrate.mjs";
import { HAD, QUESTION, difference } from "../../scripts/schema.mjs";

test("a D1 is known with its tables and without any, and each change to them is named", async () => {
  const miniflare = new Miniflare(options({ modules: true, script: "export default {}", d1Databases: { DB: "nexus" } }));
  const db = await miniflare.getD1Database("DB");
  const differs = async () => difference((await db.prepare(QUESTION).all()).results);
  assert.equal(await differs(), null);
  await migrate(db);
  assert.equal(await differs(), null);
  await db.prepare("ALTER TABLE jobs ADD COLUMN more").run();
  assert.equal(await differs(), "different: jobs");
  await db.prepare("DROP INDEX events_by_kind").run();
  assert.equal(await differs(), "different: jobs; missing: events_by_kind");
  // What is on no table of ours is somebody else's.
  await db.prepare("CREATE TABLE more (id)").run();
  await db.prepare("CREATE INDEX most ON more (id)").run();
  await db.prepare("CREATE INDEX mine ON events (kind)").run();
  assert.equal(await differs(), "different: jobs; missing: events_by_kind; not known here: mine");
  await miniflare.dispose();
});

test("a database between two migrations is known", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "0001.sql"), "CREATE TABLE one (id); -- the first\n");
  writeFileSync(join(folder, "0002.sql"), "CREATE TABLE two (\n  id -- a number\n);\n");
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(":memory:");
  const differs = () => difference(db.prepare(QUESTION).all(), folder);
  db.exec("CREATE TABLE one (id)");
  assert.equal(await differs(), null);
  db.exec("CREATE TABLE two (id)");
  assert.equal(await differs(), null);
  db.exec("DROP TABLE one");
  assert.equal(await differs(), "missing: one");
  db.close();
});

test("without wrangler, too, a D1 gets the migrations it has not had, each whole or not at all", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const miniflare = new Miniflare(options({ modules: true, script: "export default {}", d1Databases: { DB: "nexus" } }));
  t.after(() => miniflare.dispose());
  const db = await miniflare.getD1Database("DB");
  const all = async (sql) => (await db.prepare(sql).all()).results;
  writeFileSync(join(folder, "0001_one.sql"), "CREATE TABLE one (id); -- the first; of two\nINSERT INTO one VALUES ('a; b -- c''d');\n");
  writeFileSync(join(folder, "shipped.json"), "{}");
  await migrate(db, folder);
  await migrate(db, folder);
  assert.deepEqual(await all("SELECT id FROM one"), [{ id: "a; b -- c'd" }]);
  writeFileSync(join(folder, "0002_two.sql"), "ALTER TABLE one ADD COLUMN more TEXT DEFAULT '-';\nDELETE FROM one;\nINSERT INTO nowhere VALUES (1);\n");
  await assert.rejects(migrate(db, folder), /no such table: nowhere/);
  assert.deepEqual(await all("SELECT * FROM one"), [{ id: "a; b -- c'd" }]);
  writeFileSync(join(folder, "0002_two.sql"), "ALTER TABLE one ADD COLUMN more TEXT DEFAULT '-';\n");
  await migrate(db, folder);
  assert.deepEqual(await all("SELECT * FROM one"), [{ id: "a; b -- c'd", more: "-" }]);
  assert.deepEqual((await all(HAD)).map(({ name }) => name), ["0001_one.sql", "0002_two.sql"]);
});
