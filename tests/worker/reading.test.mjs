// Who asks and does not read takes bounded memory on a Worker, and nobody else's time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, sleep, startRelay } from "../support/relay.mjs";
import { resident } from "../support/worker.mjs";

const MB = 1_000_000;

test("who asks and never reads takes bounded memory; who reads is served beside it", { timeout: 120_000 }, async () => {
  const relay = await startRelay({ vars: { RATE_LIMITS: "on" } });
  const writer = author();
  const publisher = await rawAgent(relay, writer);
  const now = Math.floor(Date.now() / 1000);
  for (let n = 0; n < 39; n++) {
    publisher.send(["EVENT", writer.sign({ created_at: now - n, content: `${n} ${"x".repeat(100_000)}` })]);
    assert.equal((await publisher.next())[2], true);
  }
  const honest = await rawAgent(relay);
  const read = async (limit) => {
    honest.send(["REQ", "some", { kinds: [1], limit }]);
    let events = 0;
    for (;;) {
      const frame = await honest.next();
      if (frame[0] === "EOSE") return events;
      if (frame[0] === "EVENT") events++;
    }
  };
  // What one answer takes is there before.
  assert.equal(await read(39), 39);
  await sleep(500);
  const slow = await rawAgent(relay);
  slow.socket._socket.pause();
  const before = resident();
  let most = 0;
  // At the default rate, 1.2 GB in all.
  for (let asked = 0; asked < 300; asked++) {
    slow.send(["REQ", `${asked % 10}`, { kinds: [1], limit: 39 }]);
    await sleep(50);
    most = Math.max(most, resident() - before);
    if (asked % 20 === 0) assert.equal(await read(1), 1);
  }
  assert.ok(most < 150 * MB, `workerd grew by ${most / MB} MB`);
  for (const one of [publisher, honest, slow]) one.socket.terminate();
  await relay.stop();
});
