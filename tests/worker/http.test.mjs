// HTTP as only the Worker has it: settings and tables that are wrong while it serves, the cache of a place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Response } from "miniflare";
import { migrate } from "../../scripts/migrate.mjs";
import { QUESTION, difference } from "../../scripts/schema.mjs";
import { D1, rawClient, startRelay } from "../support/relay.mjs";
import { counting } from "../support/worker.mjs";

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

test("a database without its tables is unhealthy and says what to do", D1, async () => {
  const bare = await startRelay({ migrate: false });
  const answer = await fetch(`${bare.http}/health`);
  assert.equal(answer.status, 503);
  assert.match((await answer.json()).error, /^database: it has no tables; apply the migrations/);
  assert.equal((await bare.stats()).jobs, null);
  await bare.stop();
});

test("a database with another schema is unhealthy, the difference is named, and deploying judges alike", { ...D1, timeout: 60_000 }, async () => {
  const changes = [
    [],
    ["CREATE TABLE more (id)", "CREATE INDEX most ON more (id)"],
    ["DROP INDEX events_by_kind"],
    ["ALTER TABLE jobs ADD COLUMN more"],
    ["CREATE INDEX more ON tags (seq)"],
    ["DROP TABLE history"],
  ];
  const named = [null, null, /index events_by_kind is missing/, /table jobs has `more`, which is unknown/, /index more on tags is unknown/, /table history is missing/];
  for (const [n, statements] of changes.entries()) {
    const logged = [];
    const relay = await startRelay({ handleStructuredLogs: ({ message }) => logged.push(message) });
    for (const statement of statements) await relay.db.prepare(statement).run();
    const answer = await fetch(`${relay.http}/health`);
    const differs = await difference((await relay.db.prepare(QUESTION).all()).results);
    assert.deepEqual([answer.status, differs === null], named[n] ? [503, false] : [200, true], `${statements}: ${differs}`);
    if (named[n]) assert.match((await answer.json()).error, named[n]);
    await relay.stop();
    const told = logged.map((line) => JSON.parse(line)).filter(({ what }) => what === "the database cannot be relied on");
    assert.equal(told.length, named[n] ? 1 : 0);
    if (named[n]) assert.match(told[0].error, named[n]);
  }
});

test("a schema that is mended while the relay is awake is seen to be", D1, async () => {
  const relay = await startRelay();
  const index = (await relay.db.prepare("SELECT sql FROM sqlite_master WHERE name = 'events_by_kind'").first()).sql;
  await relay.db.prepare("DROP INDEX events_by_kind").run();
  assert.equal((await fetch(`${relay.http}/health`)).status, 503);
  await relay.db.prepare(index).run();
  assert.equal((await fetch(`${relay.http}/health`)).status, 200);
  await relay.stop();
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
  // Who asks for no body leaves the whole answer, and is served from what others have left.
  assert.equal((await fetch(url("/api/history?step=hour"), { method: "HEAD" })).status, 200);
  assert.equal((await (await cache.match(url("/api/history?step=hour"))).json()).step_seconds, 3600);
  await cache.put(url("/health"), new Response("left", { headers: { "Cache-Control": "max-age=60", "X-Left": "yes" } }));
  assert.equal((await fetch(url("/health"), { method: "HEAD" })).headers.get("x-left"), "yes");
  await shared.stop();
});

test("what can be asked in many ways fills no cache", async () => {
  const shared = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 } });
  const url = (kind) => `${shared.http}/api/handlers?k=${kind}`;
  const kinds = [5050, 5051, 6000];
  for (const kind of kinds) assert.equal((await fetch(url(kind))).status, 200);
  const cache = (await shared.miniflare.getCaches()).default;
  for (const kind of kinds) assert.equal(await cache.match(url(kind)), undefined, `${kind}`);
  await shared.stop();
});

test("errors are not shared", D1, async () => {
  const bare = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 }, migrate: false });
  const handlers = async () => (await fetch(`${bare.http}/api/handlers?k=5050`)).status;
  assert.equal(await handlers(), 503);
  await migrate(bare.db);
  assert.equal(await handlers(), 200);
  await bare.stop();
});

test("files of the HUD are served without the Worker, and all else by it", async () => {
  const relay = await startRelay(counting());
  const files = ["/hud.js", "/hud.css", "/theme.js", "/icon.svg", "/job-page.js"];
  for (const file of files) assert.equal((await fetch(`${relay.http}${file}`)).status, 200, file);
  // A page that is loaded again asks whether they are the same.
  const { headers } = await fetch(`${relay.http}/hud.js`);
  assert.equal((await fetch(`${relay.http}/hud.js`, { headers: { "If-None-Match": headers.get("etag") } })).status, 304);
  assert.equal(await relay.counted(), 0);
  const others = [
    ["/", "text/html", 200],
    ["/", "application/nostr+json", 200],
    [`/jobs/${"0".repeat(64)}`, "text/html", 200],
    ["/api/stats", "*/*", 200],
    ["/metrics", "*/*", 200],
    ["/health", "*/*", 200],
    ["/nowhere", "*/*", 404],
  ];
  for (const [n, [path, accept, status]] of others.entries()) {
    assert.equal((await fetch(`${relay.http}${path}`, { headers: { Accept: accept } })).status, status, path);
    assert.equal(await relay.counted(), n + 1, path);
  }
  const client = await rawClient(relay.ws);
  assert.equal((await client.next())[0], "AUTH");
  client.close();
  await relay.stop();
});

test("what is told of a job fills no cache of the place", async () => {
  const relay = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 } });
  const path = `/api/jobs/${"0".repeat(64)}`;
  assert.equal((await fetch(`${relay.http}${path}`)).status, 404);
  const cache = (await relay.miniflare.getCaches()).default;
  assert.equal(await cache.match(`${relay.http}${path}`), undefined);
  await relay.stop();
});
