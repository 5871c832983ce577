// Gateways that are objects of their own: what happens at one is told at all, they sleep and wake, and nobody outside speaks
// for one of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, rawClient, sleep, startRelay, within } from "../support/relay.mjs";
import { between } from "../support/worker.mjs";

const GATEWAYS = 4;

/** A client of an address of its own, by its number. */
const from = (n) => ({ headers: { "cf-connecting-ip": `192.0.2.${n}` } });

/** A relay of some gateways, with clients at each of them. */
async function stage(vars = {}, options = {}) {
  const relay = await startRelay({ vars: { GATEWAYS, ...vars }, ...options });
  const all = await Promise.all(Array.from({ length: 12 }, (_, n) => rawAgent(relay, author(), from(n))));
  const stop = async () => {
    all.forEach((one) => one.close());
    await relay.stop();
  };
  return { relay, all, stop };
}

/** The next event that each client hears of a kind. */
const heard = (all, kind) => Promise.all(all.map(async (one) => {
  for (;;) {
    const frame = await one.next(10_000);
    if (frame[0] === "EVENT" && frame[2].kind === kind) return frame[2].id;
  }
}));

const answer = async (one) => {
  for (;;) {
    const frame = await one.next(10_000);
    if (frame[0] === "OK") return frame;
  }
};

test("what happens at one gateway is told at all", { timeout: 120_000 }, async () => {
  const { relay, all, stop } = await stage({}, between());
  const spread = new Set((await relay.told()).map(({ object }) => object));
  assert.ok(spread.size > 2, `clients are at ${[...spread]}`);
  const [customer, provider, nobody] = [author(), author(), author()];
  const mute = "mute: nobody is listening to this ephemeral event";
  for (const [n, one] of all.entries()) {
    const event = nobody.sign({ kind: 20_001, content: `${n}` });
    one.send(["EVENT", event]);
    assert.deepEqual(await answer(one), ["OK", event.id, false, mute]);
  }
  for (const one of all) {
    one.send(["REQ", "s", { kinds: [20_001, 5050, 6050], limit: 0 }]);
    assert.equal((await one.next())[0], "EOSE");
  }
  for (const [n, one] of all.entries()) {
    const event = nobody.sign({ kind: 20_001, content: `heard ${n}` });
    one.send(["EVENT", event]);
    assert.deepEqual(await heard(all, 20_001), all.map(() => event.id));
    const request = customer.sign({ kind: 5050, content: `${n}` });
    one.send(["EVENT", request]);
    assert.deepEqual(await heard(all, 5050), all.map(() => request.id));
    const result = provider.sign({ kind: 6050, tags: [["e", request.id], ["p", customer.pubkey]] });
    all.at(-n - 1).send(["EVENT", result]);
    assert.deepEqual(await heard(all, 6050), all.map(() => result.id));
  }
  // Numbers are those of all gateways, whichever is asked.
  await sleep(6000); // they are told within 5 s
  for (let n = 0; n < all.length; n++) {
    const { connections, subscriptions, events } = await (await fetch(`${relay.http}/api/stats`, from(n))).json();
    const jobs = 2 * all.length;
    assert.deepEqual([connections.open, subscriptions, events.stored, events.accepted], [12, 12, jobs, 3 * all.length], `address ${n}`);
  }
  await stop();
});

/** Subscribes a client to all jobs and results that come from now on. */
async function watch(one) {
  one.send(["REQ", "jobs", { kinds: [5050, 6050], limit: 0 }]);
  assert.equal((await one.next(10_000))[0], "EOSE");
}

test("all objects sleep, and wake for an event: it is told once to each who wants it", { timeout: 120_000 }, async () => {
  const { relay, all, stop } = await stage({}, between());
  await Promise.all(all.map(watch));
  for (let round = 0; round < 2; round++) {
    await sleep(22_000); // what was counted is told after 5 s, and saved 5 s later; an object with nothing to do sleeps after 10 s
    await relay.told();
    const event = author().sign({ kind: 5050, content: `round ${round}` });
    all[5].send(["EVENT", event]);
    assert.deepEqual(await heard(all, 5050), all.map(() => event.id));
    await sleep(1000);
    assert.deepEqual(all.map((one) => one.frames.filter(([verb]) => verb === "EVENT")), all.map(() => []));
    const told = await relay.told();
    assert.ok(told.some(({ object }) => object === "nexus") && told.length < 40, JSON.stringify(told));
  }
  const stats = await (await fetch(`${relay.http}/api/stats`, from(0))).json();
  assert.equal(stats.connections.opened, 0, "an object did not sleep");
  assert.equal(stats.connections.open, all.length);
  await stop();
});

test("the partition loses its memory with jobs in flight: each OK is stored and told once", { timeout: 120_000 }, async () => {
  const { relay, all, stop } = await stage({}, between());
  await Promise.all(all.map(watch));
  const who = author();
  const events = Array.from({ length: 1000 }, (_, n) => who.sign({ kind: 5050, content: `${n}` }));
  events.forEach((event, n) => all[n % all.length].send(["EVENT", event]));
  await sleep(100);
  await relay.reset("nexus");
  const answers = new Map();
  const seen = all.map(() => []);
  // Until all are answered; then what was accepted is heard.
  const read = async (one, n) => {
    let own = 0;
    for (;;) {
      const frame = await one.next(30_000);
      if (frame[0] === "OK") (answers.set(frame[1], frame), own++);
      if (frame[0] === "EVENT") seen[n].push(frame[2].id);
      if (own === events.filter((_, m) => m % all.length === n).length) return;
    }
  };
  await within(60_000, Promise.all(all.map(read)), "answers");
  await sleep(3000);
  all.forEach((one, n) => one.frames.splice(0).forEach((frame) => frame[0] === "EVENT" && seen[n].push(frame[2].id)));
  const refused = [...answers.values()].filter(([, , accepted]) => !accepted);
  for (const [, , , why] of refused) assert.match(why, /^error: /);
  const { results } = await relay.db.prepare("SELECT lower(hex(id)) AS id FROM events").all();
  const stored = results.map(({ id }) => id).sort();
  for (const [id, [, , accepted]] of answers) if (accepted) assert.ok(stored.includes(id), "an event with an OK is not stored");
  for (const [n, ids] of seen.entries()) assert.deepEqual(ids.toSorted(), stored, `client ${n}`);
  // Jobs go on.
  const event = author().sign({ kind: 5050, content: "after" });
  all[3].send(["EVENT", event]);
  assert.deepEqual(await heard(all, 5050), all.map(() => event.id));
  await stop();
});

test("a gateway is reset: its clients come back, and all others miss nothing and hear nothing twice", { timeout: 120_000 }, async () => {
  const { relay, all, stop } = await stage({}, between());
  await Promise.all(all.map(watch));
  const who = author();
  const publish = async (count, clients) => {
    for (let n = 0; n < count; n++) {
      const one = clients[n % clients.length];
      const event = who.sign({ kind: 5050, content: `${Math.random()}` });
      one.send(["EVENT", event]);
      await sleep(20);
    }
  };
  const object = (await relay.told()).map(({ object }) => object).find((object) => object !== "nexus");
  await publish(20, all);
  await relay.reset(object);
  await sleep(500);
  const stayed = all.filter((one) => !one.closed);
  assert.ok(stayed.length > 3 && stayed.length < all.length, `${stayed.length} of ${all.length} clients stayed`);
  await publish(20, stayed);
  const back = await Promise.all(all.map(async (one, n) => (one.closed ? rawAgent(relay, author(), from(n)) : one)));
  await Promise.all(back.filter((one, n) => all[n].closed).map(watch));
  await publish(20, back);
  await sleep(1000);
  const { results } = await relay.db.prepare("SELECT lower(hex(id)) AS id FROM events ORDER BY seq").all();
  const stored = results.map(({ id }) => id);
  assert.ok(stored.length >= 58, `${stored.length} events are stored`);
  for (const [n, one] of back.entries()) {
    const ids = one.frames.filter(([verb]) => verb === "EVENT").map(([, , event]) => event.id);
    const since = one === all[n] ? stored : stored.slice(-20);
    assert.deepEqual(ids.toSorted(), since.toSorted(), `client ${n}`);
  }
  await stop();
});

test("nobody outside speaks for an object of the relay", { timeout: 60_000 }, async () => {
  const { relay, stop } = await stage({}, between());
  await relay.told();
  const upgrade = { upgrade: "websocket", connection: "upgrade", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13" };
  for (const path of ["/link/partition/0", "/link/gateway/1", "//link/gateway/1", "/./link/gateway/1", "/api/../link/gateway/1", "/link/gateway/1?k=5050", "/"]) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      const response = await fetch(`${relay.http}${path}`, { method, body: "x", headers: method === "POST" ? {} : upgrade }).catch((error) => error);
      assert.ok(response instanceof Error || [404, 405, 400].includes(response.status), `${method} ${path}: ${response.status}`);
    }
    await assert.rejects(rawClient(`${relay.ws}${path === "/" ? "/link/gateway/1" : path}`), /40\d/);
  }
  assert.deepEqual(await relay.told(), []);
  await stop();
});

test("requests between objects are few: a group costs two for each gateway concerned", { timeout: 60_000 }, async () => {
  const { relay, all, stop } = await stage({}, between());
  const [customer, provider] = [all[0], all[1]];
  const who = author();
  customer.send(["REQ", "mine", { kinds: [6050, 7000], "#p": [who.pubkey], limit: 0 }]);
  provider.send(["REQ", "jobs", { kinds: [5050], limit: 0 }]);
  for (const one of [customer, provider]) assert.equal((await one.next())[0], "EOSE");
  await sleep(7000); // what was counted has been told
  await relay.told();
  const jobs = 20;
  for (let n = 0; n < jobs; n++) {
    const request = who.sign({ kind: 5050, content: `${n}` });
    customer.send(["EVENT", request]);
    assert.deepEqual(await heard([provider], 5050), [request.id]);
  }
  await sleep(500);
  const told = await relay.told();
  const idle = told.filter(({ object }) => object !== "nexus").map(({ object }) => object);
  assert.ok(new Set(idle).size <= 2, "a gateway is told of what it does not care for");
  // The event there, its outcome back, the event to who wants it.
  assert.ok(told.length <= 4 * jobs, `${told.length} requests for ${jobs} events`);
  await stop();
});
