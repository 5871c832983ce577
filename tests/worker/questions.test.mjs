// Questions that come while D1 is asked are asked together, and each has its own answer.
import assert from "node:assert/strict";
import { test } from "node:test";
import { D1, author, rawAgent, sleep, startRelay } from "../support/relay.mjs";
import { measured } from "../support/worker.mjs";

/** A relay that has events of one topic each, and for each a client; what memory answers is not asked. */
async function stage(count, options = measured()) {
  const relay = await startRelay(options);
  const writer = author();
  const events = Array.from({ length: count }, (_, n) => writer.sign({ content: `${n}`, tags: [["t", `topic ${n}`]] }));
  const publisher = await rawAgent(relay, writer);
  for (const event of events) {
    publisher.send(["EVENT", event]);
    assert.equal((await publisher.next())[2], true);
  }
  const clients = [];
  for (const _ of events) clients.push(await rawAgent(relay));
  const ask = (n) => clients[n].send(["REQ", "q", { "#t": [`topic ${n}`, "none"], authors: [events[n].pubkey] }]);
  // The key of a tag, as the index has it.
  const fail = (n) => relay.fail(Buffer.from(`topic ${n}`).toString("hex"));
  const stop = async () => {
    for (const client of [publisher, ...clients]) client.close();
    await relay.stop();
  };
  return { relay, events, clients, ask, fail, stop };
}

test("questions that come together are few calls, and one that D1 fails of fails alone", { ...D1, timeout: 60_000 }, async () => {
  const { relay, events, clients, ask, fail, stop } = await stage(24);
  const answered = async (n) => {
    assert.deepEqual(await clients[n].next(), ["EVENT", "q", events[n]]);
    assert.equal((await clients[n].next())[0], "EOSE");
  };
  const together = async (which, hears) => {
    const before = await relay.calls();
    await relay.stall(true);
    which.forEach(ask);
    await sleep(300); // they arrive
    await relay.stall(false);
    await Promise.all(which.map(hears));
    return (await relay.calls()) - before;
  };
  const all = events.map((_, n) => n);
  const calls = await together(all, answered);
  assert.ok(calls <= all.length / 2, `${calls} calls for ${all.length} questions`);
  await fail(7);
  await together(all, async (n) => {
    if (n !== 7) return answered(n);
  });
  await relay.fail("");
  await answered(7); // it was asked again
  await stop();
});

test("questions that failed together are asked again a few at a time", { ...D1, timeout: 60_000 }, async () => {
  const options = measured();
  const [module] = options.modules;
  const counted = "async (statements) => { gate.most = Math.max(gate.most ?? 0, (gate.now = (gate.now ?? 0) + 1)); try { return await batch(target, statements); } finally { gate.now--; } }";
  module.contents = module.contents.replace("(statements) => batch(target, statements)", counted).replace("String(gate.calls)", "String(gate.most)");
  const { relay, events, clients, ask, fail, stop } = await stage(24, options);
  await fail(7);
  await relay.stall(true);
  events.forEach((_, n) => ask(n));
  await sleep(300); // they arrive
  await relay.stall(false);
  await Promise.all(clients.map(async (client, n) => n === 7 || assert.deepEqual(await client.next(), ["EVENT", "q", events[n]])));
  const most = await relay.calls();
  assert.ok(most <= 5, `${most} calls at once`); // four of questions, and one of the log
  await stop();
});

test("a question that D1 never answers holds nobody else's up", { ...D1, timeout: 60_000 }, async () => {
  const options = measured();
  const [module] = options.modules;
  module.contents = module.contents.replace("await gate.open;", "if (statements.some(fails)) await new Promise(() => {}); await gate.open;");
  const { events, clients, ask, fail, stop } = await stage(8, options);
  await fail(0);
  ask(0);
  await sleep(300); // its call is being made
  let answered = false;
  clients[0].next(60_000).then(() => (answered = true), () => {});
  for (let n = 1; n < 8; n++) ask(n);
  await Promise.all(clients.slice(1).map(async (client, n) => assert.deepEqual(await client.next(30_000), ["EVENT", "q", events[n + 1]])));
  assert.equal(answered, false);
  await stop();
});
