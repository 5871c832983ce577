// What survives: a restart, a client that dies, a burst.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PARTITIONS, agent, author, rawAgent, reports, sleep, startRelay } from "../support/relay.mjs";

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
  await reports(relay, ({ connections, subscriptions }) => [connections.open, subscriptions], [1, 0]);
  other.close();
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
    const answers = [];
    while (answers.length < 100) answers.push(await writer.next());
    // Partitions do not wait for each other.
    if (PARTITIONS > 1) answers.sort(([, one], [, other]) => events[w].findIndex(({ id }) => id === one) - events[w].findIndex(({ id }) => id === other));
    assert.deepEqual(answers, events[w].map(({ id }) => ["OK", id, true, ""]));
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

test("what a client has sent before it closes is stored", async () => {
  const relay = await startRelay();
  const [writer, who] = [await rawAgent(relay), author()];
  const events = Array.from({ length: 40 }, (_, n) => who.sign({ content: `${n}` }));
  events.forEach((event) => writer.send(["EVENT", event]));
  writer.close();
  await writer.ended;
  const reader = await agent(relay);
  for (let tries = 0; tries < 100 && (await relay.stats()).events.stored < events.length; tries++) await sleep(50);
  assert.equal((await reader.read({ authors: [who.pubkey] })).length, events.length);
  reader.close();
  await relay.stop();
});
