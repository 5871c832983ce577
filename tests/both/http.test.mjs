// HTTP: NIP-11, the HUD, the numbers, errors.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { NATIVE, author, rawClient, sleep, startRelay } from "../support/relay.mjs";

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
  assert.deepEqual(document.supported_nips, [1, 9, 11, 13, 17, 32, 40, 42, 45, 62, 67, 70, 86, 89, 90]);
});

/** The status and the media type that a client gets at the root who sends these lines of `Accept`. */
const negotiated = (lines) =>
  new Promise((resolve, reject) =>
    request(`${relay.http}/`, { headers: { Accept: lines } }, (answer) => {
      answer.resume();
      resolve([answer.statusCode, answer.headers["content-type"].split(";")[0], answer.headers.vary]);
    })
      .on("error", reject)
      .end(),
  );

test("at the root a client gets what it prefers, by all its lines, and caches are told so", async () => {
  const [document, page, neither] = [
    [200, "application/nostr+json", "Accept"],
    [200, "text/html", "Accept"],
    [426, "application/json", "Accept"],
  ];
  for (const [accept, expected] of [
    [["text/plain", "application/nostr+json"], document],
    [["Application/Nostr+JSON; q=0.4, */*;q=0.1"], document],
    [["application/nostr+json;q=0.5, text/html;q=0.8"], page],
    [["application/nostr+json;q=0.8", "text/html;q=0.5"], document],
    [["application/nostr+json;q=0, text/*"], page],
    [["application/nostr+json;q=0"], neither],
    [["*/*"], neither],
    [["application/*"], neither],
    [['text/plain;x="application/nostr+json,text/html"'], neither],
  ]) {
    assert.deepEqual(await negotiated(accept), expected, `${accept}`);
  }
  assert.equal((await get("/health")).headers.get("vary"), null);
});

test("HEAD tells the length that GET has, or none", async () => {
  const json = { Accept: "application/nostr+json" };
  for (const [path, headers] of [["/", json], ["/", {}], ["/", { Accept: "text/html" }], ["/health", {}], ["/hud.js", {}], ["/nowhere", {}], ["/api/handlers?k=5050", {}]]) {
    const [whole, head] = [await get(path, headers), await get(path, headers, "HEAD")];
    const bytes = (await whole.arrayBuffer()).byteLength;
    assert.equal((await head.arrayBuffer()).byteLength, 0);
    assert.equal(head.status, whole.status, path);
    assert.equal(head.headers.get("content-type"), whole.headers.get("content-type"));
    const length = head.headers.get("content-length");
    assert.ok(length === null || Number(length) === bytes || head.headers.has("content-encoding"), `${path}: ${length}, not ${bytes}`);
  }
});

test("the subprotocol nostr is granted to who asks for it", async () => {
  for (const [asked, granted] of [[["nostr"], "nostr"], [["chat", "nostr"], "nostr"], [[], ""]]) {
    const client = await rawClient(relay.ws, asked);
    assert.equal(client.socket.protocol, granted);
    assert.equal((await client.next())[0], "AUTH");
    client.close();
  }
  await assert.rejects(rawClient(relay.ws, ["chat"]), /subprotocol/);
});

test("who asks for many kinds is told when to come again", async () => {
  const rates = { RATE_LIMITS: "on", RATE_GUEST: "events 100/100 queries 1/1 bytes 1000000/1000000" };
  const limited = await startRelay({ vars: { ...rates, AUTH_REQUIRED: false, ...(NATIVE && { GATEWAYS: 1 }) } });
  const from = { headers: { "cf-connecting-ip": "192.0.2.7" } };
  const client = await rawClient(limited.ws, from);
  await client.next();
  const kinds = [5001, 5002, 5003].map((kind) => ["k", `${kind}`]);
  client.send(["EVENT", author().sign({ kind: 31990, tags: [["d", "x"], ...kinds], content: "{}" })]);
  assert.equal((await client.next())[2], true);
  const ask = (kind) => fetch(`${limited.http}/api/handlers?k=${kind}`, from);
  const answers = await Promise.all([5001, 5002, 5003].map(ask));
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length > 0, `${answers.map(({ status }) => status)}`);
  for (const answer of refused) {
    assert.ok(Number(answer.headers.get("retry-after")) >= 1);
    assert.match((await answer.json()).error, /rate-limited: 1 queries a second for one guest/);
  }
  assert.equal((await fetch(`${limited.http}/health`, from)).status, 200);
  client.close();
  await limited.stop();
});

test("a network's requests that the relay has to answer anew have a bound, what is shared has none", async () => {
  const rates = { RATE_LIMITS: "on", RATE_GUEST: "events 100/100 queries 100/100 bytes 8192/81920", STATS_SHARED_SECONDS: 60 };
  const limited = await startRelay({ vars: { ...rates, ...(NATIVE && { GATEWAYS: 1 }) } });
  const ask = (path, address, headers) => fetch(`${limited.http}${path}`, { headers: { "cf-connecting-ip": address, ...headers } });
  const flooder = "192.0.2.7";
  for (const path of ["/api/stats", "/health"]) assert.equal((await ask(path, flooder)).status, 200);
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => ask(`/api/handlers?k=${6000 + n}`, flooder)));
  const refused = answers.filter(({ status }) => status === 429);
  // The burst is 20 requests, of which two are made; 2 a second come on top.
  assert.ok(refused.length >= 20 && refused.length <= 42, `${refused.length} of 60`);
  for (const answer of refused) {
    assert.ok(Number(answer.headers.get("retry-after")) >= 1);
    assert.ok(answer.headers.get("access-control-allow-origin"));
    assert.match((await answer.json()).error, /^rate-limited: 2 requests a second for one network; retry in \d+ s$/);
  }
  // Who looks at the numbers from there goes on, as others do with what they ask.
  const looks = await Promise.all(Array.from({ length: 60 }, () => ask("/api/stats", flooder)));
  assert.ok(looks.every(({ status }) => status === 200));
  if (!NATIVE) assert.equal((await ask("/api/handlers?k=7000", "192.0.2.8")).status, 200);
  // Connections are counted for themselves.
  const client = await rawClient(limited.ws, { headers: { "cf-connecting-ip": flooder } });
  assert.equal((await client.next())[0], "AUTH");
  client.close();
  await limited.stop();
});

test("a browser gets the HUD and its files, nothing from elsewhere", async () => {
  const page = await get("/", { Accept: "text/html,*/*;q=0.8" });
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-security-policy"), /default-src 'none'/);
  const html = await page.text();
  const files = [...html.matchAll(/(?:src|href)="(\/[^"]*)"/g)].map(([, path]) => path);
  assert.ok(files.includes("/hud.js") && files.includes("/hud.css"));
  for (const file of files) assert.equal((await get(file)).status, 200, file);
  // Its files have the headers of the page, whoever serves them.
  for (const file of ["/hud.js", "/hud.css", "/theme.js", "/icon.svg", "/job-page.js"]) {
    const answer = await get(file);
    assert.equal(answer.status, 200, file);
    for (const name of ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"]) {
      assert.equal(answer.headers.get(name), page.headers.get(name), `${file}: ${name}`);
    }
  }
  assert.equal((await get("/_headers")).status, 404);
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
  const shared = await startRelay({ vars: { STATS_SHARED_SECONDS: "", GATEWAYS: 1 }, ...(!NATIVE && { cache: false }) });
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
  const head = await read("/api/stats", "HEAD");
  assert.equal(await head.text(), "");
  for (const name of ["cache-control", "content-type"]) assert.equal(head.headers.get(name), first.headers.get(name), name);
  // What was asked by HEAD first is shared with its body.
  assert.equal(await (await read("/api/handlers?k=5050", "HEAD")).text(), "");
  assert.deepEqual(await (await read("/api/handlers?k=5050")).json(), { version: 1, kind: 5050, handlers: [] });
  await sleep(2500);
  assert.equal((await (await read()).json()).connections.open, 1);
  client.close();
  await shared.stop();
});
