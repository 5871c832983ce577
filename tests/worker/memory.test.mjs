// All that clients can make a Worker keep, at once: within the budget, in what is counted and in what is there.
import assert from "node:assert/strict";
import { test } from "node:test";
import { D1, author, rawClient, sleep, startRelay, within } from "../support/relay.mjs";
import { measured, resident } from "../support/worker.mjs";

const MIB = 1 << 20;
const PLENTY = "events 1000000/1000000 queries 1000000/1000000 bytes 1000000000/1000000000";

let networks = 0;

/** A connection from a network of its own. */
async function stranger(relay) {
  networks++;
  const client = await rawClient(relay.ws, { perMessageDeflate: false, headers: { "cf-connecting-ip": `10.${networks >> 16}.${(networks >> 8) & 255}.${networks & 255}` } });
  client.challenge = (await client.next())[1];
  return client;
}

/** The same with a key that is proven. */
async function agent(relay) {
  const [client, who] = [await stranger(relay), author()];
  const tags = [["relay", "wss://nexus.example"], ["challenge", client.challenge]];
  client.send(["AUTH", who.sign({ kind: 22242, tags })]);
  assert.equal((await client.next())[2], true);
  return Object.assign(client, { who });
}

test("everything that can be filled is, and the memory stays within the budget", { ...D1, timeout: 200_000 }, async () => {
  const lines = [];
  const handleStructuredLogs = ({ message }) => lines.push(message);
  const rates = { RATE_GUEST: PLENTY, RATE_NETWORK: PLENTY, RATE_AGENT: PLENTY.replace("1000000/1000000", "2/1") };
  const relay = await startRelay({ vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "false", ...rates }, ...measured(), handleStructuredLogs });
  const [publisher, customer] = [await stranger(relay), author()];
  const many = (count, make) => Promise.all(Array.from({ length: count }, () => make(relay)));
  const [asking, providers, others, subscribers] = [await many(40, stranger), await many(18, stranger), await many(10, stranger), await many(120, stranger)];
  const agents = await many(12, agent);
  // Connections that do nothing; to fill their share takes more sockets than a test should open.
  for (let n = 0; n < 4000; n += 100) await many(100, stranger);
  // What a socket takes in workerd outside of the isolate is not the relay's to bound.
  const before = { wasm: await relay.memory(), resident: resident() };
  const publish = async (events) => {
    events.forEach((event) => publisher.send(["EVENT", event]));
    for (const _ of events) assert.equal((await publisher.next(20_000))[2], true);
  };
  // The window of recent events, and jobs that are held.
  const jobs = Array.from({ length: 20 }, (_, n) => customer.sign({ kind: 5050, tags: [["i", `${n}`, "text"]] }));
  await publish(jobs);
  for (let n = 0; n < 4600; n += 100) {
    await publish(Array.from({ length: 100 }, (_, m) => customer.sign({ content: `${n + m} ${"x".repeat(1500)}` })));
  }
  // Subscriptions of many values.
  const ids = (from) => Array.from({ length: 1000 }, (_, n) => (from * 1000 + n).toString(16).padStart(64, "0"));
  for (const [n, client] of subscribers.entries()) {
    for (let m = 0; m < 3; m++) {
      client.send(["REQ", `${m}`, { ids: ids(3 * n + m), limit: 0 }]);
      if ((await client.next())[0] === "CLOSED") break;
    }
  }
  const large = (n) => `${n} ${"y".repeat(60_000)}`;
  const answers = jobs.slice(0, 18).map((job, n) => author().sign({ kind: 6050, tags: [["e", job.id], ["p", customer.pubkey], ["request", JSON.stringify(job)]], content: large(n) }));
  const waiting = Array.from({ length: 60 }, (_, n) => customer.sign({ content: large(n) }));
  const bursts = agents.map(({ who }) => Array.from({ length: 6 }, (_, n) => who.sign({ content: large(n) })));
  const live = Array.from({ length: 8 }, (_, n) => customer.sign({ kind: 20_000, content: `${n} ${"z".repeat(12_000)}` }));
  await relay.stats();

  await relay.stall(true);
  for (const [n, client] of asking.entries()) {
    // Of one of them nothing is in memory, so the database is asked.
    client.send(["REQ", "all", { kinds: [1] }, { kinds: [20_000] }]);
    for (let m = 0; m < 80; m++) client.send(["COUNT", `${n} ${m}`, { kinds: [1], "#t": ["a", "b"] }]);
  }
  live.forEach((event) => publisher.send(["EVENT", event]));
  others.forEach((client, n) => waiting.slice(6 * n, 6 * n + 6).forEach((event) => client.send(["EVENT", event])));
  providers.forEach((client, n) => client.send(["EVENT", answers[n]]));
  await sleep(1000);
  agents.forEach((client, n) => bursts[n].forEach((event) => client.send(["EVENT", event])));
  await sleep(300);
  const { memory } = await within(5000, relay.stats(), "numbers");
  for (const [share, max] of Object.entries(memory.max)) {
    assert.ok(memory.used[share] <= max, `${share}: ${memory.used[share]} of ${max}`);
  }
  for (const share of ["answers", "backlogs", "events", "job_answers", "questions", "recent", "subscriptions", "turns"]) {
    assert.ok(memory.used[share] > memory.max[share] * 0.6, `${share}: ${memory.used[share]} of ${memory.max[share]}`);
  }
  await relay.stall(false);
  for (const client of asking) {
    let frame;
    do frame = await client.next(30_000);
    while (frame[0] !== "EOSE" && frame[0] !== "CLOSED");
  }
  const after = { wasm: await relay.memory(), resident: resident() };
  console.log(`# the WASM memory has ${after.wasm / MIB} MiB (${before.wasm / MIB} with the connections alone), workerd ${Math.round((after.resident - before.resident) / MIB)} MiB more`);
  assert.ok(after.wasm <= 64 * MIB, `${after.wasm / MIB} MiB`);
  assert.ok(after.resident - before.resident <= 192 * MIB);
  // What was full is free again, and the relay goes on.
  assert.equal((await relay.stats()).memory.used.answers, 0);
  await publish([customer.sign({ content: "and now" })]);
  await relay.stop();
  // Who is turned away fills no log.
  assert.deepEqual(lines.filter((line) => line.includes("request failed")), []);
});
