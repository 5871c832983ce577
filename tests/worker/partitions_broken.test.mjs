// Partitions of which one fails: what it cannot say is an error and never a shorter answer, and all else goes on.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { OBJECTS, SETTINGS, ask, from, get, heard, jobIn, publish, sorted, stage, stored, watch } from "../support/partitions.mjs";
import { D1, author, rawAgent, sleep, startRelay } from "../support/relay.mjs";
import { measured } from "../support/worker.mjs";

describe("a D1 that fails", { concurrency: 2 }, () => [1, 0].forEach((broken) => {
  test(`while the D1 of partition ${broken} fails, what concerns it is an error, and jobs of the other go on`, { timeout: 150_000 }, async () => {
    const customer = author();
    const { relay, all, stop } = await stage();
    await Promise.all(all.slice(0, 4).map(watch));
    const watching = all.slice(0, 4);
    const [before, works] = [jobIn(broken, customer), jobIn(1 - broken, customer)];
    for (const job of [before, works]) {
      assert.deepEqual(await publish(all[4], job), [true, ""]);
      assert.deepEqual(await heard(watching), watching.map(() => job.id));
    }
    // Nothing is read without the one, nor written or looked at without the other.
    const [hide, show] = [["", "hidden_"], ["hidden_", ""]].map(([from, to]) => ["events", "totals"].map((table) => `ALTER TABLE ${from}${table} RENAME TO ${to}${table}`));
    const rename = (all) => relay.dbs[broken].batch(all.map((sql) => relay.dbs[broken].prepare(sql)));
    await rename(hide);
    const lost = jobIn(broken, customer);
    const refused = publish(all[5], lost, 40_000);
    // Its own turn: an author's events wait for each other.
    const other = jobIn(1 - broken, author());
    assert.deepEqual(await publish(all[4], other), [true, ""]);
    assert.deepEqual(await heard(watching), watching.map(() => other.id));
    // Of a job of the other partition all is known, of what both may have nothing is: it is not answered with a part of it.
    assert.deepEqual(await ask(all[4], { kinds: [6050, 7000], "#e": [other.id] }), { ids: [], end: "EOSE", reason: undefined });
    const { end, reason, ids: none } = await ask(all[6], { kinds: [5050], "#t": ["none"] });
    assert.deepEqual([end, none], ["CLOSED", []]);
    assert.match(reason, /^error: /);
    const health = await fetch(`${relay.http}/health`, from(1));
    assert.equal(health.status, 503);
    assert.match((await health.json()).error, new RegExp(`^database: partition ${broken}: `));
    const [accepted, why] = await refused;
    assert.equal(accepted, false);
    assert.match(why, /^error: the event could not be stored: /);
    await rename(show);
    assert.deepEqual(await publish(all[5], lost, 40_000), [true, ""]);
    assert.deepEqual(await heard(watching), watching.map(() => lost.id));
    const found = await ask(all[7], { kinds: [5050] });
    assert.deepEqual([found.ids.sort(), found.end], [sorted([before, works, lost, other]), "EOSE"]);
    await stop();
  });
}));

test("a D1 that stalls holds up what concerns it alone", { ...D1, timeout: 60_000 }, async () => {
  const customer = author();
  const { relay, all, stop } = await stage(measured());
  for (const stalled of [1, 0]) {
    const [slow, fast] = [jobIn(stalled, customer), jobIn(1 - stalled, author())];
    await relay.stall(true, OBJECTS[stalled]);
    let answered = false;
    const late = publish(all[0], slow, 30_000).finally(() => (answered = true));
    const asked = ask(all[1], { kinds: [5050], "#p": ["ab".repeat(32)] }).finally(() => (answered = true));
    assert.deepEqual(await publish(all[2], fast), [true, ""]);
    assert.deepEqual(await ask(all[2], { kinds: [6050], "#e": [fast.id] }), { ids: [], end: "EOSE", reason: undefined });
    await sleep(1000);
    assert.equal(answered, false);
    await relay.stall(false, OBJECTS[stalled]);
    assert.deepEqual(await late, [true, ""]);
    assert.deepEqual(await asked, { ids: [], end: "EOSE", reason: undefined });
  }
  await stop();
});

test("a database that is bound as another partition is named, and nothing is stored in it", { ...D1, timeout: 120_000 }, async (t) => {
  const persist = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(persist, { recursive: true, force: true }));
  const customer = author();
  const first = await stage({ persist });
  const jobs = [jobIn(0, customer), jobIn(1, customer)];
  for (const job of jobs) assert.deepEqual(await publish(first.all[0], job), [true, ""]);
  await first.stop();
  const own = jobs.map((job) => [job.id]);
  const cases = [
    [{ DB: "nexus-1", DB_1: "nexus" }, {}, /^database: partition [01]: the database has partition ([01]) of 2, and is used as partition (?!\1)[01] of 2: /, own.toReversed()],
    [{ DB: "nexus" }, { PARTITIONS: 1, GATEWAYS: 1 }, /^database: the database has partition 0 of 2, and is used as partition 0 of 1: PARTITIONS must be 2/, own.slice(0, 1)],
    [{ DB: "nexus", DB_1: "nexus-1", DB_2: "nexus-2" }, { PARTITIONS: 3 }, /^database: partition [01]: the database has partition [01] of 2, and is used as partition [01] of 3: /, [...own, []]],
  ];
  await Promise.all(cases.map(async ([d1Databases, vars, said, kept], n) => {
    const copy = `${persist}-${n}`;
    t.after(() => rmSync(copy, { recursive: true, force: true }));
    cpSync(persist, copy, { recursive: true });
    const relay = await startRelay({ vars: { ...SETTINGS, ...vars }, persist: copy, d1Databases });
    const answer = await fetch(`${relay.http}/health`);
    assert.equal(answer.status, 503);
    assert.match((await answer.json()).error, said);
    const client = await rawAgent(relay, author());
    const asking = await rawAgent(relay, author());
    const [[accepted, reason], { end }] = await Promise.all([publish(client, author().sign({}), 40_000), ask(asking, { kinds: [1, 5050] })]);
    assert.equal(accepted, false);
    assert.match(reason, /^error: the event could not be stored: the database has partition /);
    assert.equal(end, "CLOSED");
    assert.deepEqual(await stored(relay), kept);
    [client, asking].forEach((one) => one.close());
    await relay.stop();
  }));
  const last = await stage({ persist });
  assert.deepEqual(await get(last.relay, "/health"), { status: "ok" });
  const { ids: found, end } = await ask(last.all[0], { kinds: [5050] });
  assert.deepEqual([found.sort(), end], [sorted(jobs), "EOSE"]);
  assert.deepEqual(await publish(last.all[1], jobIn(1, customer)), [true, ""]);
  await last.stop();
});
