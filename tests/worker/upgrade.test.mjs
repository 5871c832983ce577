// A trial of the next release's migration on what a Worker has stored, by wrangler as `npm run deploy` has it done: the Worker
// answers the same and goes on; one that fails changes nothing.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { D1, startRelay } from "../support/relay.mjs";
import { localD1 } from "../upgrade/kept.mjs";
import { VARS, answers, fill, goOn } from "../upgrade/market.mjs";

const TRIAL = "tests/upgrade/0003_trial.sql";

/** What the tables are, their rows, and what wrangler has noted. */
function rows(d1) {
  const schema = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '_cf_%' ORDER BY name";
  const all = ["events", "jobs", "tags", "d1_migrations"].map((table) => `SELECT * FROM ${table}`);
  const { output, failed } = d1("execute", "DB", "--json", "--command", [schema, ...all].join("; "));
  assert.ok(output, failed);
  return JSON.parse(output).map(({ results }) => results);
}

test("a Worker answers the same after an upgrade of its D1, and goes on; an upgrade that fails changes nothing", { ...D1, timeout: 200_000 }, async (t) => {
  const { apply, d1, persist } = localD1(t);
  const made = apply(readdirSync("migrations").filter((name) => name.endsWith(".sql")));
  assert.ok(made.output, made.failed);
  const start = () => startRelay({ vars: VARS, persist, migrate: false });
  const first = await start();
  const told = await fill(first);
  await first.stop();
  const before = await start();
  const said = await answers(before, told);
  await before.stop();

  const upgraded = apply([], [TRIAL]);
  assert.ok(upgraded.output, upgraded.failed);
  const as = rows(d1);
  assert.equal(as.length, 5);
  const { failed } = apply([], ["tests/upgrade/0004_fails.sql"]);
  assert.match(failed, /0004_fails\.sql/);
  assert.match(failed, /UNIQUE constraint failed: jobs\.id/);
  assert.deepEqual(rows(d1), as);

  const after = await start();
  assert.deepEqual(await answers(after, told), said);
  await goOn(after, told, assert);
  // This version's Worker does not know what the trial brought.
  const health = await fetch(`${after.http}/health`);
  assert.equal(health.status, 503);
  assert.match((await health.json()).error, /table jobs has `note text not null default 'none; yet'`, which is unknown; .*; a later version has written it, or somebody has changed it$/);
  const { note, moved } = await after.db.prepare("SELECT (SELECT count(*) FROM jobs WHERE note LIKE 'of kind 5%') AS moved, (SELECT note FROM jobs ORDER BY asked_ms DESC LIMIT 1) AS note").first();
  assert.deepEqual([moved >= 3, note], [true, "none; yet"]);
  await after.stop();
});
