// Partitions, each an object with a D1 of its own, behind several gateways: events of a job lie in one of them, all others at
// home; a question gets what all have. By the databases' own word where it is of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { OBJECTS, ask, get, heard, jobIn, partitionOf, publish, sorted, stage, stored, watch } from "../support/partitions.mjs";
import { author, rawClient, sleep } from "../support/relay.mjs";
import { between } from "../support/worker.mjs";

test("jobs cross gateways and partitions, and what is deleted is gone from all", { timeout: 120_000 }, async () => {
  const [customer, provider] = [author(), author()];
  const { relay, all, stop } = await stage({ keys: [customer, provider], ...between() });
  const told = await relay.told();
  assert.deepEqual(OBJECTS.filter((object) => !told.some((one) => one.object === object)), []);
  assert.deepEqual([...new Set(told.map((one) => one.from))].filter((path) => path.startsWith("/link/gateway/")).sort(), ["/link/gateway/1", "/link/gateway/2"]);
  const [watching, [buying, selling]] = [all.slice(0, 6), all.slice(6)];
  await Promise.all(watching.map(watch));
  const handler = provider.sign({ kind: 31990, tags: [["d", "h"], ["k", "5050"]], content: "{}" });
  assert.deepEqual(await publish(selling, handler), [true, ""]);
  const parts = [[handler], []];
  for (const partition of [0, 1, 1, 0]) {
    const job = jobIn(partition, customer);
    const about = [["e", job.id], ["p", customer.pubkey]];
    const feedback = provider.sign({ kind: 7000, tags: [["status", "processing"], ...about] });
    const result = provider.sign({ kind: 6050, tags: about });
    assert.deepEqual(await publish(buying, job), [true, ""]);
    assert.deepEqual(await heard(watching), watching.map(() => job.id));
    assert.deepEqual(await publish(selling, feedback), [true, ""]);
    assert.deepEqual(await publish(selling, result), [true, ""]);
    assert.deepEqual(await heard(watching), watching.map(() => result.id));
    parts[partition].push(job, feedback, result);
  }
  const note = customer.sign({ tags: [["t", "note"]] });
  assert.deepEqual(await publish(all[3], note), [true, ""]);
  parts[0].push(note);
  assert.deepEqual(await stored(relay), parts.map(sorted));
  for (const one of all) {
    const { ids, end } = await ask(one, {});
    assert.deepEqual([ids.sort(), end], [sorted(parts.flat()), "EOSE"]);
  }

  // Numbers are those of all, whichever gateway is asked.
  await sleep(6000); // they are told within 5 s
  for (const n of [0, 1, 2, 3, 4, 5]) {
    const { jobs, events, connections } = await get(relay, "/api/stats", n);
    assert.deepEqual([jobs.requested, jobs.with_result, jobs.states.success, events.stored, connections.open], [4, 4, 4, 14, 8], `address ${n}`);
    const { handlers: [first] } = await get(relay, "/api/handlers?k=5050", n);
    assert.deepEqual([first.pubkey, first.results, first.online], [provider.pubkey, 4, true]);
    assert.deepEqual(await get(relay, "/health", n), { status: "ok" });
  }

  // One request deletes in both; it lies at home alone.
  const [first, second] = parts.map((part) => part.find(({ kind }) => kind === 5050));
  const deletion = customer.sign({ kind: 5, tags: [["e", first.id], ["e", second.id], ["e", note.id]] });
  assert.deepEqual(await publish(all[5], deletion), [true, ""]);
  const gone = [first.id, second.id, note.id];
  const left = parts.map((part, n) => sorted([...part.filter(({ id }) => !gone.includes(id)), ...(n === 0 ? [deletion] : [])]));
  assert.deepEqual(await stored(relay), left);
  for (const [n, event] of [first, second, note].entries()) assert.match((await publish(all[n], event))[1], /^blocked: /);
  const vanish = provider.sign({ kind: 62, tags: [["relay", "ALL_RELAYS"]] });
  assert.deepEqual(await publish(all[6], vanish), [true, ""]);
  for (const one of all) assert.deepEqual(await ask(one, { authors: [provider.pubkey], kinds: [31990, 7000, 6050] }), { ids: [], end: "EOSE", reason: undefined });
  const others = parts.map((part, n) => sorted([...part.filter(({ id, pubkey }) => !gone.includes(id) && pubkey !== provider.pubkey), ...(n === 0 ? [deletion, vanish] : [])]));
  for (let tries = 0; tries < 100 && JSON.stringify(await stored(relay)) !== JSON.stringify(others); tries++) await sleep(100);
  assert.deepEqual(await stored(relay), others);
  const again = provider.sign({ kind: 6050, created_at: vanish.created_at - 1, tags: [["e", second.id], ["p", customer.pubkey]] });
  assert.match((await publish(all[1], again))[1], /^blocked: /);
  await stop();
});

test("all objects sleep, and wake for a job of either partition: it is told once to each who wants it", { timeout: 150_000 }, async () => {
  const customer = author();
  const { relay, all, stop } = await stage({ ...between() });
  await Promise.all(all.map(watch));
  const jobs = [];
  for (const partition of [1, 0, 1]) {
    await sleep(22_000); // what was counted is told after 5 s, and saved 5 s later; an object with nothing to do sleeps after 10 s
    await relay.told();
    const job = jobIn(partition, customer);
    jobs.push(job);
    assert.deepEqual(await publish(all[5], job), [true, ""]);
    // The publisher's own socket has heard it before or after its OK.
    const others = all.filter((_, n) => n !== 5);
    assert.deepEqual(await heard(others), others.map(() => job.id));
    await sleep(1000);
    assert.deepEqual(others.map((one) => one.frames.filter(([verb]) => verb === "EVENT")), others.map(() => []));
    const told = await relay.told();
    assert.ok(told.some(({ object }) => object === OBJECTS[partition]) && told.length < 60, JSON.stringify(told));
  }
  const stats = await get(relay, "/api/stats");
  assert.equal(stats.connections.opened, 0, "an object did not sleep");
  assert.deepEqual([stats.connections.open, stats.jobs.requested], [all.length, 3]);
  const found = await ask(all[3], { kinds: [5050] });
  assert.deepEqual([found.ids.sort(), found.end], [sorted(jobs), "EOSE"]);
  await stop();
});

test("a partition loses its memory with jobs in flight: each OK is stored and told once", { timeout: 120_000 }, async () => {
  const { relay, all, stop } = await stage({ ...between() });
  await Promise.all(all.map(watch));
  const who = author();
  const events = Array.from({ length: 600 }, (_, n) => who.sign({ kind: 5050, content: `${n}` }));
  events.forEach((event, n) => all[n % all.length].send(["EVENT", event]));
  await sleep(100);
  await relay.reset(OBJECTS[1]);
  const answers = new Map();
  const seen = all.map(() => []);
  await Promise.all(all.map(async (one, n) => {
    const own = new Set(events.filter((_, m) => m % all.length === n).map(({ id }) => id));
    while (own.size > 0) {
      const [verb, ...rest] = await one.next(30_000);
      if (verb === "OK" && own.delete(rest[0])) answers.set(rest[0], rest.slice(1));
      if (verb === "EVENT") seen[n].push(rest[1].id);
    }
  }));
  await sleep(2000);
  for (const [n, one] of all.entries()) seen[n].push(...one.frames.filter(([verb]) => verb === "EVENT").map(([, , event]) => event.id));
  for (const [accepted, reason] of answers.values()) assert.ok(accepted || reason.startsWith("error: "), reason);
  const there = (await stored(relay)).flat().sort();
  for (const [id, [accepted]] of answers) if (accepted) assert.ok(there.includes(id), "an event with an OK is not stored");
  for (const [n, ids] of seen.entries()) assert.deepEqual(ids.toSorted(), there, `client ${n}`);
  // Of the other partition none was lost.
  for (const [id, [accepted]] of answers) assert.ok(accepted || partitionOf(id) === 1, id);
  await stop();
});

test("nobody outside speaks for an object of the relay", { timeout: 60_000 }, async () => {
  const { relay, stop } = await stage({ ...between() });
  await sleep(6500); // what clients did is told
  await relay.told();
  for (const path of ["/link/gateway/1", "/link/gateway/2", "/link/partition/0", "/link/partition/1", "//link/gateway/1", "/./link/partition/1", "/api/../link/gateway/1", "/link/gateway/1?k=5050"]) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      const response = await fetch(`${relay.http}${path}`, { method, body: "x" });
      assert.ok([404, 405].includes(response.status), `${method} ${path}: ${response.status}`);
    }
    await assert.rejects(rawClient(`${relay.ws}${path}`), /404/);
  }
  assert.deepEqual(await relay.told(), []);
  await stop();
});
