// A moment of every part of the benchmark: whether it works, not how fast anything is.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { grid, measure, table } from "../../bench/bench.mjs";
import { beside } from "../../bench/beside.mjs";
import { GENERATOR } from "../../bench/build.mjs";
import { generate } from "../../bench/generator.mjs";
import { RELAY_URL } from "../../bench/host.mjs";
import { start } from "../../bench/native.mjs";
import { startRelay } from "../support/relay.mjs";

/** Every row says something, and no figure is missing. */
function sound(rows, wanted) {
  for (const what of wanted) assert.ok(rows.some((row) => row.what.startsWith(what)), `nothing on ${what}`);
  for (const { what, figure, limit } of rows) {
    assert.match(figure, /\d/, what);
    assert.doesNotMatch(`${figure} ${limit}`, /NaN|undefined|Infinity|null/, what);
  }
  assert.equal(table(rows).split("\n").length, rows.length + 2);
}

test("the bench measures the Worker, its limits and the engine", async () => {
  const rows = await measure({ quick: true });
  sound(rows, ["limit: a verification", "limit: an event's share", "limit: echo", "ingest", "rows", "publish to subscriber", "fan-out", "REQ to EOSE", "live", "the engine alone", "Worker", "start-up"]);
});

test("the bench measures the Worker with its object's own database", async () => {
  const rows = await measure({ store: "object", quick: true });
  sound(rows, ["limit: a verification", "ingest", "rows", "publish to subscriber", "fan-out", "REQ to EOSE"]);
});

test("the bench measures the native program", async () => {
  const rows = await measure({ native: true, quick: true });
  sound(rows, ["ingest", "CPU", "publish to subscriber", "fan-out", "REQ to EOSE", "program", "start-up"]);
});

test("the bench measures any relay by its URL", async () => {
  const relay = await startRelay();
  const rows = await measure({ url: relay.ws, relay: "wss://nexus.example", quick: true });
  sound(rows, ["ingest", "publish to subscriber", "fan-out", "REQ to EOSE"]);
  assert.equal((await relay.stats()).events.rejected.invalid, 0);
  await relay.stop();
});

test("the bench measures the native program and another relay by turns", async () => {
  const other = await start();
  try {
    const [head, ...rows] = await beside({ url: other.url, relay: RELAY_URL, pid: other.pid, rounds: 1, quick: true });
    assert.equal(head[2], other.url);
    for (const what of [/^ingest, .*accepted/, /^ingest, .*CPU/, /^latency, .*p99/, /^queries, one event.*queries/]) {
      const row = rows.find(([name]) => what.test(name));
      // Two relays, and the ratio of the pair.
      assert.match(row?.join(" | "), / \| [\d.,]+ \| [\d.,]+ \| [\d.,]+ \([\d.,]+ to [\d.,]+\)$/, String(what));
    }
    assert.equal(grid([head, ...rows]).split("\n").length, rows.length + 2);
  } finally {
    await other.stop();
  }
});

test("what the bench counts as accepted is what the relay has stored", async () => {
  const relay = await startRelay();
  const [{ events }] = await generate("ingest", "--url", relay.ws, "--relay", "wss://nexus.example", "--connections", "2", "--seconds", "0.5");
  assert.ok(events > 0);
  assert.equal((await relay.stats()).events.stored, events);
  await relay.stop();
});

test("an event that is refused ends the bench with its reason", async () => {
  const relay = await startRelay({ vars: { RATE_LIMITS: "on", RATE_AGENT: "events 1/5 queries 20/100 bytes 262144/4194304" } });
  const target = ["--url", relay.ws, "--relay", "wss://nexus.example"];
  for (const section of [["ingest", "--connections", "1", "--seconds", "2"], ["latency", "--rates", "50", "--idle", "2", "--seconds", "2"]]) {
    const [name, ...more] = section;
    const said = await new Promise((resolve) => execFile(GENERATOR, [name, ...target, ...more], (error, _, stderr) => resolve({ error, stderr })));
    assert.ok(said.error, name);
    assert.match(said.stderr, /rate-limited/, name);
  }
  await relay.stop();
});
