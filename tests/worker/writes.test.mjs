// What is read for one write is bounded, and with it what it takes of a Worker's memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, startRelay } from "../support/relay.mjs";
import { measured } from "../support/worker.mjs";

/** What an isolate has is 128 MB, of which the budget takes half. */
const BYTES = 64_000_000;

test("a deletion of short tags does not take the memory of a Worker", { timeout: 200_000 }, async () => {
  const relay = await startRelay(measured());
  const writer = author();
  const publisher = await rawAgent(relay, writer);
  const tags = [];
  for (let n = 0; n < 320; n++) {
    const short = Array.from({ length: 1999 }, (_, m) => ["t", m.toString(16)]);
    const event = n < 160 ? writer.sign({ content: `${n}`, tags: short }) : writer.sign({ kind: 30_000, content: "", tags: [["d", `${n}`], ...short] });
    tags.push(n < 160 ? ["e", event.id] : ["a", `30000:${event.pubkey}:${n}`]);
    publisher.send(["EVENT", event]);
    assert.equal((await publisher.next(20_000))[2], true);
  }
  // All of them at once are too much, some are not.
  publisher.send(["EVENT", writer.sign({ kind: 5, content: "", tags })]);
  assert.match((await publisher.next(60_000))[3], /^restricted: /);
  publisher.send(["EVENT", writer.sign({ kind: 5, content: "", tags: [...tags.slice(0, 40), ...tags.slice(-40)] })]);
  assert.equal((await publisher.next(60_000))[2], true);
  const memory = await relay.memory();
  publisher.close();
  await relay.stop();
  assert.ok(memory < BYTES, `${memory} bytes`);
});

test("an encrypted request after its early answers does not take the memory of a Worker", { timeout: 200_000 }, async () => {
  const relay = await startRelay(measured());
  const [customer, provider] = [author(), author()];
  const request = customer.sign({ kind: 5050, content: "", tags: [["encrypted"]] });
  const publisher = await rawAgent(relay, provider);
  const about = [["e", request.id], ["p", request.pubkey], ["status", "processing"]];
  const short = Array.from({ length: 340 }, (_, m) => ["t", m.toString(16)]);
  for (let n = 0; n < 999; n++) {
    publisher.send(["EVENT", provider.sign({ kind: 7000, content: `${n}`, tags: [...about, ...short] })]);
    assert.equal((await publisher.next(20_000))[2], true);
  }
  publisher.send(["EVENT", request]);
  assert.equal((await publisher.next(60_000))[2], true);
  const memory = await relay.memory();
  publisher.close();
  await relay.stop();
  assert.ok(memory < BYTES, `${memory} bytes`);
});
