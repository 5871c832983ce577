// The log: one JSON object a line, with the connection or the request it is about.
import assert from "node:assert/strict";
import { test } from "node:test";
import { D1, rawAgent, sleep, startRelay } from "../support/relay.mjs";

/** A relay whose log is kept, line by line. */
async function logged(options) {
  const lines = [];
  const relay = await startRelay({ ...options, handleStructuredLogs: ({ message }) => lines.push(message) });
  const about = (what) => lines.map((line) => JSON.parse(line)).filter((line) => line.what === what);
  return Object.assign(relay, { lines, about });
}

test("an HTTP request that fails is in the log by one name, in the Worker and in the object", D1, async () => {
  const relay = await logged({ migrate: false });
  const get = (path, headers) => fetch(`${relay.http}${path}`, { headers });
  const asked = await Promise.all(["0123456789abcdef-FRA", "0123456789abcdef-FRA"].map((ray) => get("/api/handlers?k=5050", { "cf-ray": ray })));
  assert.deepEqual(asked.map(({ status }) => status), [503, 503]);
  const { error } = await asked[0].json();
  assert.match(error, /^database: no such table/);
  assert.equal((await get("/health")).status, 503);
  await relay.stop();
  const [first, second, health] = relay.about("request failed");
  const expected = { level: "error", what: "request failed", request: "0123456789abcdef", path: "/api/handlers", status: "503", error };
  assert.deepEqual([first, second], [expected, expected]);
  assert.match(health.request, /^[0-9a-f]{16}$/);
  assert.equal(health.path, "/health");
  const query = relay.about("query failed").find(({ request }) => request);
  assert.equal(query.request, "0123456789abcdef");
});

test("a setting that does not parse is in the log", async () => {
  const relay = await logged({ vars: { MAX_LIMIT: "many" } });
  assert.equal((await fetch(`${relay.http}/api/stats`)).status, 500);
  await relay.stop();
  const [line] = relay.about("request failed");
  assert.match(line.error, /MAX_LIMIT must be a whole number/);
});

test("a failure that is about a connection names it, and no line is anything but JSON", async () => {
  const relay = await logged({ vars: { LOG_LEVEL: "debug" } });
  const reader = await rawAgent(relay);
  await relay.db.prepare("DROP TABLE events").run();
  reader.send(["REQ", "s", { kinds: [1] }]);
  while (relay.about("query failed").length < 2) await sleep(100); // it is repeated
  reader.close();
  await relay.stop();
  const [{ connection }] = relay.about("opened");
  assert.match(connection, /^[0-9a-f]{16}$/);
  for (const line of relay.about("query failed")) {
    assert.equal(line.connection, connection);
    assert.match(line.error, /no such table/);
  }
  assert.deepEqual(relay.about("request failed"), []);
});
