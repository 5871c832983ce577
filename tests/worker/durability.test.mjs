// What survives: a restart of the process, hibernation, a client that dies, a database that fails.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { agent, author, rawAgent, sleep, startRelay } from "./support.mjs";

test("a restart of the process keeps every event that got an OK", async () => {
  const persist = mkdtempSync(join(tmpdir(), "nexus-"));
  const first = await startRelay({ persist });
  const writer = await agent(first);
  const events = await Promise.all(Array.from({ length: 50 }, (_, n) => writer.publish({ kind: 1, content: `${n}` })));
  writer.close();
  await first.stop();

  const second = await startRelay({ persist });
  const reader = await agent(second);
  const stored = await reader.read({ kinds: [1], authors: [writer.pubkey] });
  assert.deepEqual(stored.map(({ id }) => id).sort(), events.map(({ id }) => id).sort());
  assert.equal((await second.stats()).events.stored, 50);
  reader.close();
  await second.stop();
  rmSync(persist, { recursive: true });
});

test("subscriptions and authentication survive hibernation", { timeout: 60_000 }, async () => {
  const relay = await startRelay();
  const who = author();
  const [reader, writer] = [await rawAgent(relay, who), await rawAgent(relay)];
  // More than an attachment holds: these are kept in the object's SQLite.
  const many = Array.from({ length: 500 }, (_, n) => `${n}`.padStart(64, "x"));
  reader.send(["REQ", "small", { kinds: [5050], "#t": ["ü"] }]);
  assert.deepEqual(await reader.next(), ["EOSE", "small", ["finish"]]);
  reader.send(["REQ", "large", { "#x": many }]);
  assert.deepEqual(await reader.next(), ["EOSE", "large", ["finish"]]);
  await writer.socket.send("ping");
  assert.equal(await writer.next(), "pong");
  assert.ok((await relay.stats()).connections.opened >= 2);

  await sleep(13_000); // an object with nothing to do sleeps after 10 s
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

test("a client that dies mid-frame is forgotten and harms nobody", async () => {
  const relay = await startRelay();
  const victim = await rawAgent(relay);
  const other = await rawAgent(relay);
  victim.send(["REQ", "s", {}]);
  await victim.next();
  victim.socket._socket.write(Buffer.from([0x81, 0xfe, 0x40, 0x00, 1, 2, 3, 4, 91])); // a text frame of 16 kB, cut off
  victim.socket.terminate();
  const event = author().sign({});
  other.send(["EVENT", event]);
  assert.deepEqual(await other.next(), ["OK", event.id, true, ""]);
  for (let tries = 0; tries < 100 && (await relay.stats()).connections.open > 1; tries++) await sleep(50);
  const stats = await relay.stats();
  assert.deepEqual([stats.connections.open, stats.subscriptions], [1, 0]);
  other.close();
  await relay.stop();
});

test("while D1 fails everything is answered with error:, afterwards all works", async () => {
  const relay = await startRelay();
  const [client, watcher] = [await rawAgent(relay), await rawAgent(relay)];
  watcher.send(["REQ", "live", { kinds: [1] }]);
  assert.deepEqual(await watcher.next(), ["EOSE", "live", ["finish"]]);
  await relay.db.prepare("ALTER TABLE events RENAME TO hidden").run();
  const event = author().sign({ content: "hello" });
  client.send(["EVENT", event]);
  const [, , accepted, reason] = await client.next();
  assert.equal(accepted, false);
  assert.match(reason, /^error: the event could not be stored: no such table: events.*; publish it again$/);
  client.send(["REQ", "s", {}]);
  const [verb, , why] = await client.next();
  assert.equal(verb, "CLOSED");
  assert.match(why, /^error: stored events could not be read: no such table: events.*; try again$/);

  await relay.db.prepare("ALTER TABLE hidden RENAME TO events").run();
  client.send(["EVENT", event]);
  assert.deepEqual(await client.next(), ["OK", event.id, true, ""]);
  assert.deepEqual(await watcher.next(), ["EVENT", "live", event]);
  client.send(["REQ", "s", {}]);
  assert.deepEqual(await client.next(), ["EVENT", "s", event]);
  assert.deepEqual(await client.next(), ["EOSE", "s", ["finish"]]);
  const { storage } = await relay.stats();
  assert.deepEqual([storage.commits.failed, storage.queries.failed], [2, 1]);
  client.close();
  watcher.close();
  await relay.stop();
});

test("a burst from many connections is stored whole, each event told once", async () => {
  const relay = await startRelay();
  const watcher = await rawAgent(relay);
  watcher.send(["REQ", "all", {}]);
  await watcher.next();
  const writers = await Promise.all(Array.from({ length: 8 }, () => rawAgent(relay)));
  const events = writers.map(() => {
    const who = author();
    return Array.from({ length: 100 }, (_, n) => who.sign({ kind: 5050, tags: [["i", `${n}`, "text"]] }));
  });
  writers.forEach((writer, w) => events[w].forEach((event) => writer.send(["EVENT", event])));
  for (const [w, writer] of writers.entries()) {
    for (const event of events[w]) assert.deepEqual(await writer.next(), ["OK", event.id, true, ""]);
  }
  const told = [];
  for (let n = 0; n < 800; n++) told.push((await watcher.next())[2].id);
  assert.deepEqual(told.sort(), events.flat().map(({ id }) => id).sort());
  const stats = await relay.stats();
  assert.deepEqual([stats.events.stored, stats.jobs.requested], [800, 800]);
  assert.ok(stats.storage.commits.count < 400, `${stats.storage.commits.count} commits for 800 events are no groups`);
  for (const client of [watcher, ...writers]) client.close();
  await relay.stop();
});
