// HTTP: NIP-11, the HUD, the numbers, errors.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { NATIVE, rawClient, sleep, startRelay } from "../support/relay.mjs";

let relay;
before(async () => (relay = await startRelay({ vars: { RELAY_NAME: "Market", MAX_LIMIT: "400", DEFAULT_LIMIT: "300" } })));
after(() => relay.stop());

const CORS = ["access-control-allow-origin", "access-control-allow-headers", "access-control-allow-methods"];
const get = (path, headers = {}, method = "GET") => fetch(`${relay.http}${path}`, { method, headers });

test("NIP-11 with its three CORS headers and the settings in force", async () => {
  const answer = await get("/", { Accept: "application/nostr+json" });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("content-type"), /^application\/nostr\+json/);
  for (const name of CORS) assert.ok(answer.headers.get(name), name);
  const document = await answer.json();
  assert.equal(document.name, "Market");
  assert.equal(document.limitation.max_limit, 400);
  assert.equal(document.limitation.auth_required, true);
  assert.deepEqual(document.supported_nips, [1, 9, 11, 13, 17, 32, 40, 42, 45, 62, 67, 70, 89, 90]);
});

test("a browser gets the HUD and its files, nothing from elsewhere", async () => {
  const page = await get("/", { Accept: "text/html,*/*;q=0.8" });
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-security-policy"), /default-src 'none'/);
  const html = await page.text();
  const files = [...html.matchAll(/(?:src|href)="(\/[^"]*)"/g)].map(([, path]) => path);
  assert.ok(files.includes("/hud.js") && files.includes("/hud.css"));
  for (const file of files) assert.equal((await get(file)).status, 200, file);
});

test("numbers and health", async () => {
  const stats = await get("/api/stats");
  assert.match(stats.headers.get("content-type"), /^application\/json/);
  for (const name of CORS) assert.ok(stats.headers.get(name), name);
  const body = await stats.json();
  assert.equal(body.version, 2);
  assert.deepEqual([body.jobs.requested, body.jobs.fill_rate, body.jobs.time_to_result.p50_ms], [0, null, null]);
  assert.deepEqual(await (await get("/api/handlers?k=5050")).json(), { version: 1, kind: 5050, handlers: [] });
  assert.deepEqual(await (await get("/health")).json(), { status: "ok" });
});

test("errors are JSON with an error", async () => {
  const cases = [
    ["GET", "/nowhere", {}, 404],
    ["GET", "/api/nothing", {}, 404],
    ["GET", "/api/handlers", {}, 400],
    ["GET", "/api/handlers?k=-1", {}, 400],
    ["POST", "/nowhere", {}, 404],
    ["POST", "/", {}, 405],
    ["DELETE", "/api/stats", {}, 405],
    ["PUT", "/health", {}, 405],
    ["GET", "/", { Accept: "application/json" }, 426],
  ];
  for (const [method, path, headers, status] of cases) {
    const answer = await get(path, headers, method);
    assert.equal(answer.status, status, `${method} ${path}`);
    assert.match(answer.headers.get("content-type"), /^application\/json/);
    assert.equal(typeof (await answer.json()).error, "string");
  }
});

test("OPTIONS anywhere is a CORS preflight", async () => {
  for (const path of ["/", "/api/stats", "/nowhere"]) {
    const answer = await get(path, { Origin: "https://elsewhere.example" }, "OPTIONS");
    assert.equal(answer.status, 204);
    for (const name of CORS) assert.ok(answer.headers.get(name), name);
  }
});

test("a WebSocket on any other path is refused", async () => {
  const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==" };
  const status = await new Promise((resolve, reject) =>
    request(`${relay.http}/chat`, { headers }).on("response", (answer) => resolve(answer.statusCode)).on("upgrade", () => resolve(101)).on("error", reject).end(),
  );
  assert.equal(status, 404);
});

test("metrics have their media type, the history has now as its last point", async () => {
  const metrics = await get("/metrics");
  assert.match(metrics.headers.get("content-type"), /^text\/plain; version=0\.0\.4/);
  const history = await (await get("/api/history?step=hour")).json();
  assert.equal(history.step_seconds, 3600);
  assert.ok(Math.abs(history.points.at(-1).at - Date.now() / 1000) < 5);
  assert.equal((await get("/api/history?step=year")).status, 400);
});

test("everybody is given the same numbers for two seconds, on addresses without a cache, too", async () => {
  const shared = await startRelay({ vars: { STATS_SHARED_SECONDS: "" }, ...(!NATIVE && { cache: false }) });
  const read = async (path = "/api/stats", method = "GET") => fetch(`${shared.http}${path}`, { method });
  const first = await read();
  assert.equal(first.headers.get("cache-control"), "public, max-age=2");
  const body = await first.json();
  const client = await rawClient(shared.ws);
  // Whatever follows the path changes nothing.
  for (const path of ["/api/stats", "/api/stats?x=1", "/api/stats"]) {
    const again = await read(path);
    assert.deepEqual(await again.json(), body);
    for (const name of [...CORS, "cache-control"]) assert.equal(again.headers.get(name), first.headers.get(name), name);
    assert.match(again.headers.get("content-type"), /^application\/json/);
  }
  // Each question has its own answer, and what asks for no body takes none.
  assert.match(await (await read("/metrics")).text(), /^nexus_connections_open 1$/m);
  assert.equal(await (await read("/api/stats", "HEAD")).text(), "");
  await sleep(2500);
  assert.equal((await (await read()).json()).connections.open, 1);
  client.close();
  await shared.stop();
});
