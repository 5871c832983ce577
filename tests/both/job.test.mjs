// One job from buyer to provider and back, as nostr-tools speaks it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { verifyEvent } from "nostr-tools/pure";
import { NATIVE, agent, seconds, settled, startRelay } from "../support/relay.mjs";

/** Without the mark nostr-tools puts on what it has verified. */
const plain = (event) => JSON.parse(JSON.stringify(event));

let relay;
before(async () => (relay = await startRelay()));
after(() => relay.stop());

test("the whole job", async () => {
  const [provider, buyer, stranger] = await Promise.all([agent(relay), agent(relay), agent(relay)]);
  await provider.publish({ kind: 31990, tags: [["d", "echo"], ["k", "5050"]], content: '{"name":"Echo"}' });

  const [handler, ...others] = await buyer.read({ kinds: [31990], "#k": ["5050"] });
  assert.equal(handler.pubkey, provider.pubkey);
  assert.deepEqual(others, []);
  assert.deepEqual(await buyer.read({ kinds: [31990], "#k": ["5100"] }), []);

  const jobs = await provider.watch({ kinds: [5050], since: seconds() - 1 });
  const request = await buyer.publish({
    kind: 5050,
    tags: [["i", "What is a relay?", "text"], ["bid", "1000"], ["p", provider.pubkey], ["output", "text/plain"]],
  });
  const seen = await jobs.next();
  assert.deepEqual(plain(seen), request);
  assert.ok(verifyEvent(seen));

  const answers = await buyer.watch({ kinds: [6050, 7000], "#e": [request.id], "#p": [buyer.pubkey] });
  const overheard = await stranger.watch({ kinds: [6050], "#e": ["ab".repeat(32)] });
  const about = [["e", request.id], ["p", buyer.pubkey]];
  const steps = [
    { kind: 7000, tags: [["status", "payment-required"], ["amount", "1000"], ...about] },
    { kind: 7000, tags: [["status", "processing"], ...about] },
    { kind: 6050, tags: [["request", JSON.stringify(request)], ["amount", "1000"], ...about], content: 'It passes "events" on.\n' },
  ];
  for (const step of steps) {
    const published = await provider.publish(step);
    assert.deepEqual(plain(await answers.next()), published);
  }
  // Stored: the buyer comes back and finds all of it, newest first.
  buyer.close();
  const back = await agent(relay, buyer);
  const stored = await back.read({ kinds: [6050, 7000], "#e": [request.id], "#p": [buyer.pubkey] });
  assert.equal(stored.length, 3);
  assert.equal(stored.find(({ kind }) => kind === 6050).content, 'It passes "events" on.\n');
  assert.deepEqual(overheard.events, []);

  await settled();
  const stats = await relay.stats();
  assert.deepEqual([stats.jobs.requested, stats.jobs.with_feedback, stats.jobs.with_result], [1, 1, 1]);
  assert.deepEqual(stats.jobs.by_kind, { 5050: { success: 1 } });
  assert.equal(stats.providers.active_last_hour, 1);
  // D1's own meter; SQLite has none.
  assert.ok(NATIVE || (stats.storage.rows.written > 40 && stats.storage.rows.read > 40), JSON.stringify(stats.storage.rows));
  assert.equal(stats.events.stored, 5);
  assert.equal(stats.connections.authenticated, 3);
  for (const client of [provider, back, stranger]) client.close();
});

test("replaceable and addressable events are replaced, ephemeral ones pass", async () => {
  const [writer, reader] = await Promise.all([agent(relay), agent(relay)]);
  const now = seconds();
  for (const [content, created_at] of [["old", now - 2], ["new", now], ["late", now - 1]]) {
    const refused = await writer.publish({ kind: 0, created_at, content }).then(() => null, (error) => error.message);
    assert.equal(refused, content === "late" ? "duplicate: a newer version of this event is stored" : null);
  }
  const profiles = await reader.read({ kinds: [0], authors: [writer.pubkey] });
  assert.deepEqual(profiles.map(({ content }) => content), ["new"]);

  // As old: the lowest id stays, whatever the order.
  const tied = ["x", "y", "z"].map((content) => writer.sign({ kind: 30023, created_at: now, tags: [["d", "a"]], content }));
  await Promise.allSettled(tied.map((event) => writer.publish(event)));
  const [left, ...more] = await reader.read({ kinds: [30023], authors: [writer.pubkey], "#d": ["a"] });
  assert.equal(left.id, tied.map(({ id }) => id).sort()[0]);
  assert.deepEqual(more, []);

  const live = await reader.watch({ kinds: [20001] });
  const ephemeral = await writer.publish({ kind: 20001, content: "now" });
  assert.equal((await live.next()).id, ephemeral.id);
  assert.deepEqual(await reader.read({ kinds: [20001] }), []);
  writer.close();
  reader.close();
});
