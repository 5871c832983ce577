// What one address does to the others at the Worker, by the settings as they are when untouched.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawClient, startRelay } from "../support/relay.mjs";

const untouched = () => startRelay({ vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "true" } });

/** A bare socket from an address that has proven the key of `who`. */
async function from(relay, ip, who = author()) {
  const client = await rawClient(relay.ws, { headers: { "CF-Connecting-IP": ip } });
  const [, challenge] = await client.next();
  client.send(["AUTH", who.sign({ kind: 22242, tags: [["relay", "wss://nexus.example"], ["challenge", challenge]] })]);
  const answer = await client.next();
  assert.equal(answer[2], true, answer[3]);
  return client;
}

/** Milliseconds until a question that needs no database is answered. */
async function answered(client, name) {
  const began = performance.now();
  client.send(["REQ", name, { kinds: [5050], limit: 0 }]);
  for (;;) {
    const [verb, subscription] = await client.next(120_000);
    if (verb === "EOSE" && subscription === name) return performance.now() - began;
  }
}

test("one event of many tags beside filters of many letters delays nobody", { timeout: 300_000 }, async (t) => {
  const relay = await untouched();
  t.after(() => relay.stop());
  const honest = await from(relay, "198.51.100.7");
  await answered(honest, "first");
  const all = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"].filter((letter) => !"epz".includes(letter));
  const filter = { ...Object.fromEntries(all.map((letter) => [`#${letter}`, ["x"]])), "#z": ["never", "ever"], limit: 0 };
  const filler = Array.from({ length: 1900 }, (_, n) => ["z", `${n}`]);
  const who = author();
  const writer = await from(relay, "192.0.2.1", who);
  let filters = 0;
  for (let n = 0; n < 3; n++) {
    const one = await from(relay, "192.0.2.1");
    for (let sub = 0; sub < 10; sub++) {
      one.send(["REQ", `${sub}`, ...Array(15).fill(filter)]);
      for (;;) {
        const [verb] = await one.next();
        if (verb === "OK") continue;
        filters += verb === "EOSE" ? 15 : 0;
        break;
      }
    }
  }
  const writers = [[who, writer]];
  for (let n = 0; n < 9; n++) {
    const another = author();
    writers.push([another, await from(relay, "192.0.2.1", another)]);
  }
  const marked = all.map((letter) => [letter, "x"]);
  const plain = all.map(() => ["z", "x"]);
  // Ten keys send three events each; what somebody else waits meanwhile, and until all are answered.
  const waits = async (tags, name) => {
    const events = writers.map(([who]) => Array.from({ length: 3 }, () => who.sign({ kind: 20_000, tags: [...filler, ...tags], content: `${Math.random()}` })));
    const began = performance.now();
    for (const [n, [, writer]] of writers.entries()) for (const event of events[n]) writer.send(["EVENT", event]);
    const waited = await answered(honest, name);
    for (const [, writer] of writers) for (let n = 0; n < 3; n++) assert.equal((await writer.next(120_000))[0], "OK");
    return [waited, performance.now() - began];
  };
  const alone = await waits(plain, "alone");
  const beside = await waits(marked, "beside");
  assert.ok(beside[1] < 10 * alone[1], `${beside} ms instead of ${alone} ms for 30 events beside ${filters} filters`);
});
