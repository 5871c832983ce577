// /metrics as Prometheus itself reads it: promtool takes it without a complaint, and its numbers are
// those of /api/stats.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { market } from "../hud/market.mjs";
import { startRelay } from "../support/relay.mjs";

/** What promtool says: nothing, when all is well. It has a status of its own for what is only bad style. */
function judge(text) {
  const { status, stdout, stderr } = spawnSync(process.env.PROMTOOL ?? "promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
  return { status, said: stdout + stderr };
}

async function metrics(relay) {
  const text = await (await fetch(`${relay.http}/metrics`)).text();
  assert.deepEqual(judge(text), { status: 0, said: "" }, text);
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(samples.map((line) => line.split(/ (?=\S+$)/)).map(([name, value]) => [name, Number(value)]));
}

test("promtool complains where there is something to complain of", () => {
  assert.equal(judge("# HELP a_milliseconds A.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n").status, 3);
  assert.equal(judge("a{ 1\n").status, 1);
});

test("a relay with jobs in every state", async () => {
  const relay = await startRelay();
  const trade = await market(relay);
  await Promise.all(Array.from({ length: 40 }, () => trade.job(20)));
  await trade.nonsense();
  const { jobs, events, storage } = await relay.stats();
  const shown = await metrics(relay);
  for (const [state, count] of Object.entries(jobs.states)) assert.equal(shown[`nexus_jobs{state="${state}"}`], count, state);
  for (const [prefix, count] of Object.entries(events.rejected)) assert.equal(shown[`nexus_events_rejected_total{prefix="${prefix}"}`], count, prefix);
  for (const [kind, states] of Object.entries(jobs.by_kind)) {
    for (const [state, count] of Object.entries(states)) assert.equal(shown[`nexus_jobs_by_kind{kind="${kind}",state="${state}"}`], count);
  }
  assert.equal(shown.nexus_jobs_requested_total, 40);
  assert.equal(shown.nexus_events_rejected_total, undefined, "a family with labels has no sample without");
  assert.equal(shown.nexus_storage_bytes, storage.bytes);
  assert.equal(shown['nexus_storage_month_dollars{for="rows"}'], storage.month_dollars.rows);
  // In seconds, and every bucket there from the start: one that comes later has no rate.
  const { count, sum_ms, buckets } = jobs.time_to_result;
  assert.ok(count > 20 && sum_ms > 0);
  assert.equal(shown.nexus_jobs_time_to_result_seconds_count, count);
  assert.equal(shown.nexus_jobs_time_to_result_seconds_sum, sum_ms / 1000);
  assert.equal(shown.nexus_storage_commits_seconds_total, storage.commits.total_ms / 1000);
  const bucket = (bound) => shown[`nexus_jobs_time_to_result_seconds_bucket{le="${bound}"}`];
  assert.deepEqual([bucket("0.001"), bucket("86400"), bucket("+Inf")], [0, count, count]);
  let below = 0;
  for (const [bound, n] of buckets) assert.equal(bucket(bound / 1000), (below += n), `${bound} ms`);
  trade.close();
  await relay.stop();
});

test("a relay in which nothing has happened, and one without its tables", async () => {
  for (const migrate of [true, false]) {
    const relay = await startRelay({ migrate });
    const shown = await metrics(relay);
    assert.equal(shown.nexus_connections_open, 0);
    assert.equal(shown.nexus_jobs_requested_total, migrate ? 0 : undefined);
    await relay.stop();
  }
});
