// HTTP as only the Worker has it: settings and tables that are wrong while it serves, the cache of a place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Response } from "miniflare";
import { migrate } from "../../scripts/migrate.mjs";
import { startRelay } from "../support/relay.mjs";

test("a setting that does not parse stops the relay and names the key", async () => {
  const broken = await startRelay({ vars: { RELAY_PUBKEY: "npub1xyz", MAX_LIMIT: true } });
  for (const path of ["/", "/api/stats", "/health"]) {
    const answer = await fetch(`${broken.http}${path}`);
    assert.equal(answer.status, 500);
    const { error } = await answer.json();
    assert.match(error, /RELAY_PUBKEY must be 64 lower-case hex digits, not "npub1xyz"/);
    assert.match(error, /MAX_LIMIT must be a whole number from 1 to 5000, not "true"/);
  }
  await broken.stop();
});

test("a database without its tables is unhealthy and says what to do", async () => {
  const bare = await startRelay({ migrate: false });
  const answer = await fetch(`${bare.http}/health`);
  assert.equal(answer.status, 503);
  assert.match((await answer.json()).error, /^database: no such table: totals/);
  assert.equal((await bare.stats()).jobs, null);
  await bare.stop();
});

test("where there is a cache all isolates of a place share it", async () => {
  const shared = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 } });
  const cache = (await shared.miniflare.getCaches()).default;
  const url = (path) => `${shared.http}${path}`;
  // What this isolate was told, another finds; what another has left, this one is told.
  const stats = await (await fetch(url("/api/stats"))).text();
  assert.equal(await (await cache.match(url("/api/stats"))).text(), stats);
  await cache.put(url("/metrics"), new Response("left", { headers: { "Cache-Control": "max-age=60" } }));
  assert.equal(await (await fetch(url("/metrics"))).text(), "left");
  await shared.stop();
});

test("errors are not shared", async () => {
  const bare = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 }, migrate: false });
  const handlers = async () => (await fetch(`${bare.http}/api/handlers?k=5050`)).status;
  assert.equal(await handlers(), 503);
  await migrate(bare.db);
  assert.equal(await handlers(), 200);
  await bare.stop();
});
