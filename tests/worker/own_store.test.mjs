// A relay whose databases are its objects' own (`STORE = object`), and which has no D1: what got an OK is there after a restart,
// it migrates itself when it wakes, and what fails changes nothing. What both hosts must do it does with NEXUS_STORE=object.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { jobIn, publish, sorted, stage, stored } from "../support/partitions.mjs";
import { agent, author, rawAgent, sleep, startRelay } from "../support/relay.mjs";
import { RELEASES, kept, ownOf } from "../upgrade/kept.mjs";
import { VARS, answers } from "../upgrade/market.mjs";

const OWN = { STORE: "object", GATEWAYS: 1, PARTITIONS: 1 };

/** A folder that is gone after the test. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const rows = async (relay, sql) => (await relay.db.prepare(sql).all()).results;
const health = async (relay) => {
  const answer = await fetch(`${relay.http}/health`);
  return [answer.status, (await answer.json()).error];
};

/** All that a database has, but for what the object keeps of itself. */
async function everything(relay) {
  const tables = await rows(relay, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY name");
  const all = {};
  for (const { name } of tables) {
    const columns = await rows(relay, `SELECT name FROM pragma_table_info('${name}')`);
    all[name] = await rows(relay, `SELECT ${columns.map(({ name }) => `quote("${name}")`).join(" || ' ' || ")} AS row FROM "${name}" ORDER BY 1`);
  }
  return all;
}

test("a job is stored and found without a D1, and a restart keeps all of it", { timeout: 60_000 }, async (t) => {
  const persist = folder(t);
  const first = await startRelay({ vars: OWN, persist });
  assert.deepEqual(await health(first), [200, undefined]);
  assert.equal((await first.miniflare.getBindings()).DB, undefined);
  const [customer, provider] = [await agent(first), await agent(first)];
  const jobs = await provider.watch({ kinds: [5050] });
  const request = await customer.publish({ kind: 5050, tags: [["i", "x", "text"], ["t", "a"]] });
  assert.equal((await jobs.next()).id, request.id);
  const about = [["e", request.id], ["p", customer.pubkey]];
  const found = await customer.watch({ kinds: [6050, 7000], "#e": [request.id] });
  const told = [await provider.publish({ kind: 7000, tags: [["status", "processing"], ...about] }), await provider.publish({ kind: 6050, tags: about })];
  for (const { id } of told) assert.equal((await found.next()).id, id);
  const { storage, jobs: counted } = await first.stats();
  assert.ok(storage.rows.written > 30 && storage.rows.read > 10, JSON.stringify(storage.rows));
  assert.equal(storage.bytes, (await first.db.prepare("SELECT 1").run()).meta.size_after);
  for (const client of [customer, provider]) client.close();
  await first.stop();

  const second = await startRelay({ vars: OWN, persist });
  const reader = await agent(second);
  const all = [request, ...told].map(({ id }) => id).sort();
  assert.deepEqual((await reader.read({ kinds: [5050, 6050, 7000] })).map(({ id }) => id).sort(), all);
  assert.deepEqual((await second.stats()).jobs, counted);
  reader.close();
  await second.stop();
});

test("an object that sleeps and wakes goes on with its own database", { timeout: 60_000 }, async () => {
  const relay = await startRelay({ vars: OWN });
  const [reader, writer, who] = [await rawAgent(relay), await rawAgent(relay), author()];
  // More than an attachment holds: these are kept beside the events.
  const many = Array.from({ length: 500 }, (_, n) => `${n}`.padStart(64, "x"));
  reader.send(["REQ", "large", { "#x": many }]);
  assert.deepEqual(await reader.next(), ["EOSE", "large"]);
  const [before, after] = [1, 2].map((n) => who.sign({ content: `${n}`, tags: [["x", many[7]]] }));
  assert.deepEqual(await publish(writer, before), [true, ""]);
  assert.deepEqual(await reader.next(), ["EVENT", "large", before]);
  await sleep(20_000);
  assert.deepEqual(await publish(writer, after), [true, ""]);
  assert.deepEqual(await reader.next(), ["EVENT", "large", after]);
  const { connections, events } = await relay.stats();
  assert.deepEqual([connections.opened, connections.open, events.stored], [0, 2, 2], "the object did not sleep, or has forgotten");
  for (const client of [reader, writer]) client.close();
  await relay.stop();
});

test("a write of which one statement fails changes nothing, and is told from what is full", { timeout: 90_000 }, async () => {
  const relay = await startRelay({ vars: OWN });
  const writer = await rawAgent(relay);
  assert.deepEqual(await publish(writer, author().sign({ content: "before" })), [true, ""]);
  const before = await everything(relay);
  assert.equal(before.events.length, 1);
  const full = "CREATE TRIGGER full BEFORE INSERT ON tags BEGIN SELECT RAISE(ABORT, 'database or disk is full: SQLITE_FULL'); END";
  await relay.db.prepare(full).run();
  // Its event comes before its tags.
  const event = author().sign({ tags: [["t", "a"]] });
  assert.deepEqual(await publish(writer, event, 30_000), [false, "error: the event could not be stored: the relay's database is full; it takes deletion requests alone"]);
  assert.deepEqual(await everything(relay), before);
  const { storage } = await relay.stats();
  assert.ok(storage.failures.full >= 1 && storage.failures.full === storage.commits.failed, JSON.stringify(storage));
  await relay.db.prepare("DROP TRIGGER full").run();
  await sleep(6000); // for so long it takes nothing else
  assert.deepEqual(await publish(writer, event, 30_000), [true, ""]);
  writer.send(["REQ", "tagged", { "#t": ["a"] }]);
  assert.deepEqual(await writer.next(), ["EVENT", "tagged", event]);
  writer.close();
  await relay.stop();
});

test("an upgrade that fails changes nothing and is named; it is done when it can be", { timeout: 60_000 }, async () => {
  const [release] = RELEASES;
  const relay = await startRelay({ vars: { ...VARS, ...OWN }, before: `${ownOf(release)}; CREATE TABLE partitions (taken)` });
  const failed = /^the object's database: the upgrade to schema \d+ failed at 0002_partitions\.sql: table partitions already exists.*; meanwhile the version before serves it$/;
  const [status, error] = await health(relay);
  assert.equal(status, 500);
  assert.match(error, failed);
  const before = await everything(relay);
  assert.equal(before.migrations.length, 1);
  await relay.db.reset();
  assert.match((await health(relay))[1], failed);
  assert.deepEqual(await everything(relay), before);
  await relay.db.prepare("DROP TABLE partitions").run();
  await relay.db.reset();
  assert.deepEqual(await health(relay), [200, undefined]);
  assert.deepEqual(await answers(relay, kept(release).told), kept(release).said);
  await relay.stop();
});

test("of an upgrade that fails at its last migration none is done", { timeout: 60_000 }, async () => {
  const relay = await startRelay({ vars: OWN, before: "CREATE TABLE IF NOT EXISTS partitions (taken)" });
  assert.match((await health(relay))[1], /failed at 0002_partitions\.sql/);
  assert.deepEqual(await everything(relay), { attachments: [], migrations: [], partitions: [] });
  await relay.stop();
});

test("what a later version has migrated is refused, and told so; so are tables that somebody has changed", { timeout: 60_000 }, async () => {
  const relay = await startRelay({ vars: OWN });
  assert.deepEqual(await health(relay), [200, undefined]);
  const [{ known }] = await rows(relay, "SELECT count(*) AS known FROM migrations");
  await relay.db.prepare("INSERT INTO migrations (version, name) VALUES (?, ?)").bind(known + 1, "later.sql").run();
  await relay.db.reset();
  const [status, error] = await health(relay);
  assert.equal(status, 500);
  assert.equal(error, `the object's database: it is of schema ${known + 1}, this version knows ${known}: a later version has migrated it. Deploy that one again`);
  await relay.db.prepare("DELETE FROM migrations WHERE name = 'later.sql'").run();
  await relay.db.reset();
  assert.deepEqual(await health(relay), [200, undefined]);
  await relay.db.prepare("DROP INDEX events_by_kind").run();
  await relay.db.reset();
  const [changed, difference] = await health(relay);
  assert.equal(changed, 503);
  assert.match(difference, /index events_by_kind is missing/);
  await relay.stop();
});

/** The Worker, which tells by `/most` how many writes there were at most in one turn of the event loop, and whose alarm `/alarm` rings. */
const COUNTED = `
  import * as built from "./index.js";
  export class NexusRelay extends built.NexusRelay {
    constructor(state, env) {
      const write = state.storage.transactionSync.bind(state.storage);
      const count = { now: 0, most: 0 };
      state.storage.transactionSync = (work) => {
        if (++count.now === 1) setTimeout(() => (count.now = 0));
        count.most = Math.max(count.most, count.now);
        return write(work);
      };
      super(state, env);
      this.count = count;
    }
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/alarm") return this.alarm();
      return pathname === "/most" ? new Response(String(this.count.most)) : super.fetch(request);
    }
  }
  export default class extends built.default {
    fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname !== "/alarm" && pathname !== "/most") return super.fetch(request);
      const objects = this.env.NEXUS_RELAY;
      return objects.get(objects.idFromName("nexus")).fetch(request);
    }
  }`;

test("what is done in many steps leaves turns between them to others", { timeout: 60_000 }, async () => {
  const modules = [
    { type: "ESModule", path: "build/counted.mjs", contents: COUNTED },
    { type: "ESModule", path: "build/index.js" },
    { type: "CompiledWasm", path: "build/index_bg.wasm" },
  ];
  const relay = await startRelay({ vars: OWN, modules });
  const [writer, who] = [await rawAgent(relay), author()];
  const expiration = `${Math.floor(Date.now() / 1000) + 3600}`;
  for (let n = 0; n < 1200; n++) writer.send(["EVENT", who.sign({ content: `${n}`, tags: [["expiration", expiration]] })]);
  for (let n = 0; n < 1200; n++) assert.equal((await writer.next(20_000))[2], true);
  await relay.db.prepare("UPDATE events SET expires_at = 1").run();
  await fetch(`${relay.http}/alarm`);
  while ((await relay.db.prepare("SELECT count(*) AS left FROM events").first()).left > 0) await sleep(50);
  // Six steps.
  const most = Number(await (await fetch(`${relay.http}/most`)).text());
  assert.ok(most <= 2, `${most} writes in one turn`);
  writer.close();
  await relay.stop();
});

test("each partition has its database in its own object", { timeout: 90_000 }, async () => {
  const { relay, all, stop } = await stage({ vars: { STORE: "object" } });
  const customer = author();
  const parts = [0, 1].map((partition) => [jobIn(partition, customer), jobIn(partition, customer)]);
  for (const [n, job] of parts.flat().entries()) assert.deepEqual(await publish(all[n], job), [true, ""]);
  assert.deepEqual(await stored(relay), parts.map(sorted));
  const places = await Promise.all(relay.dbs.map((db) => db.prepare("SELECT count, own FROM partitions").first()));
  assert.deepEqual(places, [0, 1].map((own) => ({ count: 2, own })));
  await stop();
});
