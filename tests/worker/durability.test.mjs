// What survives on Cloudflare: hibernation, a database that fails.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, sleep, startRelay } from "../support/relay.mjs";

test("subscriptions and authentication survive hibernation", { timeout: 60_000 }, async () => {
  const relay = await startRelay();
  const who = author();
  const [reader, writer] = [await rawAgent(relay, who), await rawAgent(relay)];
  // More than an attachment holds: these are kept in the object's SQLite.
  const many = Array.from({ length: 500 }, (_, n) => `${n}`.padStart(64, "x"));
  reader.send(["REQ", "small", { kinds: [5050], "#t": ["ü"] }]);
  assert.deepEqual(await reader.next(), ["EOSE", "small", ["finish"]]);
  reader.send(["REQ", "large", { "#x": many }]);
  assert.deepEqual(await reader.next(), ["EOSE", "large"]);
  await writer.socket.send("ping");
  assert.equal(await writer.next(), "pong");
  assert.ok((await relay.stats()).connections.opened >= 2);

  await sleep(20_000); // counts are saved after 5 s, and an object with nothing to do sleeps after 10 s
  await reader.socket.send("ping");
  assert.equal(await reader.next(), "pong");

  const event = author().sign({ kind: 5050, tags: [["t", "ü"], ["x", many[7]]] });
  writer.send(["EVENT", event]);
  assert.deepEqual(await writer.next(), ["OK", event.id, true, ""]);
  const frames = [await reader.next(), await reader.next()].sort((a, b) => (a[1] < b[1] ? -1 : 1));
  assert.deepEqual(frames, [["EVENT", "large", event], ["EVENT", "small", event]]);

  const stats = await relay.stats();
  assert.equal(stats.connections.opened, 0, "the object did not sleep");
  assert.deepEqual([stats.connections.open, stats.connections.authenticated, stats.subscriptions], [2, 2, 2]);
  reader.close();
  writer.close();
  await relay.stop();
});

test("while D1 fails events are refused with error: and reads are repeated, afterwards all works", async () => {
  const relay = await startRelay();
  const [client, watcher] = [await rawAgent(relay), await rawAgent(relay)];
  watcher.send(["REQ", "live", { kinds: [1] }]);
  assert.deepEqual(await watcher.next(), ["EOSE", "live", ["finish"]]);
  await relay.db.prepare("ALTER TABLE events RENAME TO hidden").run();
  const event = author().sign({ content: "hello" });
  client.send(["EVENT", event]);
  // It is written again for 15 s.
  const [, , accepted, reason] = await client.next(30_000);
  assert.equal(accepted, false);
  assert.match(reason, /^error: the event could not be stored: no such table: events.*; publish it again$/);
  client.send(["REQ", "s", {}]);
  await sleep(300); // it fails meanwhile, and waits to be repeated

  await relay.db.prepare("ALTER TABLE hidden RENAME TO events").run();
  assert.deepEqual(await client.next(), ["EOSE", "s"]);
  client.send(["EVENT", event]);
  assert.deepEqual(await client.next(30_000), ["EVENT", "s", event]); // the pause goes on
  assert.deepEqual(await client.next(), ["OK", event.id, true, ""]);
  assert.deepEqual(await watcher.next(), ["EVENT", "live", event]);
  client.send(["REQ", "s", {}]);
  assert.deepEqual(await client.next(), ["EVENT", "s", event]);
  assert.deepEqual(await client.next(), ["EOSE", "s"]);
  const { storage } = await relay.stats();
  assert.ok(storage.commits.failed >= 5 && storage.queries.failed >= 1, JSON.stringify(storage));
  assert.equal(storage.failures.other, storage.commits.failed + storage.queries.failed);
  client.close();
  watcher.close();
  await relay.stop();
});

test("a relay whose log another one has taken starts anew, and takes it again", { timeout: 60_000 }, async () => {
  const relay = await startRelay();
  for (let round = 0; round < 3; round++) {
    const [client, other] = [await rawAgent(relay), await rawAgent(relay)];
    const [before, after] = [author().sign({ content: `before ${round}` }), author().sign({ content: `after ${round}` })];
    client.send(["EVENT", before]);
    assert.deepEqual(await client.next(), ["OK", before.id, true, ""]);
    // What another one's write leaves behind.
    await relay.db.prepare("UPDATE totals SET version = version + 1, writer = '00000000000000aa 1'").run();
    client.send(["EVENT", after]);
    assert.deepEqual(await client.next(), ["OK", after.id, false, "error: the event could not be stored: another relay writes to the database; publish it again"]);
    await Promise.all([client.ended, other.ended]);
    const again = await rawAgent(relay);
    again.send(["EVENT", after]);
    assert.deepEqual(await again.next(), ["OK", after.id, true, ""]);
    again.send(["REQ", "all", { ids: [before.id, after.id] }]);
    assert.deepEqual([await again.next(), await again.next()].map(([verb]) => verb), ["EVENT", "EVENT"]);
    assert.equal((await again.next())[0], "EOSE");
    again.close();
  }
  assert.equal((await relay.stats()).events.stored, 6);
  await relay.stop();
});
