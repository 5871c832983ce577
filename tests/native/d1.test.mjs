// Whole databases from the native program to D1 and back, by wrangler and by the commands of docs/OPERATE.md: every row is the
// same, and so is every answer. NEXUS_EVENTS=100000 moves so many.
import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { bin, tryRun } from "../../scripts/run.mjs";
import { jobIn } from "../support/partitions.mjs";
import { SETTINGS, author, rawAgent, reachable, seconds, sleep } from "../support/relay.mjs";
import { start as startWorker } from "../support/worker.mjs";
import { localD1 as local } from "../upgrade/kept.mjs";
import { VARS, answers, customer, fill, goOn, publish as publishAs } from "../upgrade/market.mjs";
import { folder, nexus, open, publish } from "./support.mjs";

const EVENTS = Number(process.env.NEXUS_EVENTS ?? 3000);
const MIGRATIONS = readdirSync("migrations").filter((name) => name.endsWith(".sql"));
/** What has a meaning somewhere on the way. */
const ODD = [
  "BEGIN TRANSACTION; COMMIT;",
  "it's \"so\"; -- and /* so */ `on` [here] ?1 $1 :a @b",
  "\u0000\u0001\t\r\n\\n\\\\ \u2028 ü 🙂 \ud7ff",
  "x".repeat(90_000),
  "' ; ü".repeat(20_000),
  "",
];

/** A local D1 that wrangler also exports: this takes no --persist-to. */
function localD1(t) {
  const d1 = local(t);
  mkdirSync(join(d1.folder, ".wrangler"));
  symlinkSync(d1.folder, join(d1.folder, ".wrangler/state"));
  const dump = (binding, file) => tryRun(bin("wrangler"), ["d1", "export", binding, "--local", "--output", file, "--config", join(d1.folder, "wrangler.toml")]);
  return { ...d1, dump };
}

/** A relay of the built Worker on a local D1. */
const worker = async (d1, vars = {}) => reachable(await startWorker({ vars: { ...SETTINGS, ...VARS, ...vars }, persist: d1.persist, migrate: false }));

const done = ({ output, failed }) => {
  assert.equal(failed, undefined);
  return output;
};

/** All rows of each table of a database; D1's own tables are left out. */
async function rows(path) {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path, { readOnly: true });
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('d1_migrations', 'sqlite_sequence') AND name NOT GLOB '_cf_*' ORDER BY name").all();
  const quoted = (name) => db.prepare(`SELECT name FROM pragma_table_info('${name}')`).all().map(({ name }) => `quote(${name})`).join(" || ',' || ");
  const all = Object.fromEntries(tables.map(({ name }) => [name, db.prepare(`SELECT ${quoted(name)} AS row FROM ${name} ORDER BY 1`).all().map(({ row }) => row)]));
  db.close();
  return all;
}

/** The rows of each D1 that has rows, by the files that Miniflare keeps them in while none runs: what it exports has lost some digits. */
async function rowsOf(d1) {
  const files = readdirSync(d1.persist, { recursive: true }).filter((name) => /^d1\/.*[0-9a-f]{64}\.sqlite$/.test(name));
  const all = await Promise.all(files.map((name) => rows(join(d1.persist, name))));
  return all.filter(({ events }) => events?.length > 0);
}

/** The names of tables whose rows differ: a difference of a hundred thousand is not for reading. */
const differ = (one, other) => [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((table) => one[table]?.length !== other[table]?.length || one[table].some((row, n) => row !== other[table][n]));

/** Publishes so many events more: notes, some of them odd, jobs with their answers, and some that are deleted. */
async function more(relay, count) {
  const [one, other] = [author(), author()];
  const now = seconds();
  const events = [];
  for (let n = 0; events.length < count; n++) {
    const content = n % 50 === 7 ? ODD[Math.floor(n / 50) % ODD.length] + n : `${n}`;
    const say = (who, kind, tags) => events.push(who.sign({ kind, tags, content, created_at: now - (n % 5000) })) && events.at(-1);
    if (n % 3 === 0) {
      const job = say(one, 5050, [["i", content.slice(0, 50), "text"]]);
      if (n % 2) say(other, 6050, [["e", job.id], ["p", one.pubkey]]);
    } else say(n % 2 ? one : other, n % 7 === 1 ? 30023 : 1, [["t", `${n % 9}`], ["d", `${n % 1000}`]]);
    if (n % 100 === 99) say(one, 5, [["e", events.findLast((event) => event.pubkey === one.pubkey && event.kind === 1).id]]);
  }
  const agent = await rawAgent(relay, one);
  for (let at = 0; at < events.length; at += 200) {
    const some = events.slice(at, at + 200);
    some.forEach((event) => agent.send(["EVENT", event]));
    for (const _ of some) {
      const [, , accepted, reason] = await agent.next(30_000);
      assert.ok(accepted || /^duplicate/.test(reason), reason);
    }
  }
  agent.close();
}

const pieces = (path, binding) => readdirSync(path).filter((name) => name.startsWith(`${binding}-`)).sort().map((name) => join(path, name));

test(`${EVENTS} events go from SQLite to D1 and back, and nothing is lost or otherwise`, { timeout: 60_000 + EVENTS * 40 }, async (t) => {
  const [here, there, back] = [folder(t), folder(t), folder(t)];
  const [sql, dump] = [join(there, "sql"), join(there, "dump.sql")];
  const [from, to] = [here, back].map((path) => ({ STORAGE_PATH: join(path, "nexus.sqlite") }));
  const first = await open({ persist: here, vars: { ...VARS, AUTH_REQUIRED: "true" } });
  const told = await fill(first);
  await more(first, EVENTS);
  const said = await answers(first, told);
  await first.stop();

  const exported = nexus(["export", "--sql", sql], { env: from });
  assert.equal(exported.code, 0, exported.err);
  assert.match(exported.out, new RegExp(`^\\d+ files? for DB:\n  for file in ${sql}/DB-\\*\\.sql; do npx nexus-relay wrangler d1 execute DB --remote --yes --file "\\$file" \\|\\| break; done\n$`));
  const d1 = localD1(t);
  done(d1.apply(MIGRATIONS));
  const files = pieces(sql, "DB");
  t.diagnostic(`${files.length} files, ${(files.reduce((sum, file) => sum + readFileSync(file).length, 0) / 1e6).toFixed(1)} MB of SQL`);
  for (const file of files) done(d1.d1("execute", "DB", "--file", file));
  const [was, [is]] = [await rows(from.STORAGE_PATH), await rowsOf(d1)];
  assert.ok(was.events.length >= EVENTS * 0.8 && was.deletions.length > 5 && was.jobs.length > EVENTS / 10);
  assert.deepEqual(differ(was, is), []);

  const second = await worker(d1);
  assert.deepEqual(await answers(second, told), said);
  await goOn(second, told, assert);
  await second.stop();
  // One that remembers nothing of before.
  const anew = await worker(d1);
  const later = await answers(anew, told);
  assert.notDeepEqual(later, said);
  await anew.stop();

  done(d1.dump("DB", dump));
  const imported = nexus(["import", "--d1", dump], { env: to });
  assert.equal(imported.code, 0, imported.err);
  const [whole] = await rowsOf(d1);
  assert.deepEqual(differ(whole, await rows(to.STORAGE_PATH)), []);
  const third = await open({ persist: back, vars: { ...VARS, AUTH_REQUIRED: "true" } });
  assert.deepEqual(await answers(third, told), later);
  const next = customer.sign({ kind: 5050, tags: [["i", "z", "text"]], content: "after the way back" });
  assert.deepEqual(await publishAs(third, customer, next), [true, ""]);
  await third.stop();
  assert.equal(nexus(["backup", join(back, "copy.sqlite")], { env: to }).code, 0, "it is a relay's database as any other");
});

test("two partitions are two databases on either side, each in its place", { timeout: 240_000 }, async (t) => {
  const [here, there, back] = [folder(t), folder(t), folder(t)];
  const sql = join(there, "sql");
  const [from, to] = [here, back].map((path) => ({ STORAGE_PATH: join(path, "nexus.sqlite"), PARTITIONS: "2" }));
  const vars = { ...VARS, PARTITIONS: 2 };
  const first = await open({ persist: here, vars });
  const [who, other] = [author(), author()];
  const jobs = [0, 1, 0, 1].map((partition) => jobIn(partition, who));
  const [deleted, note] = [jobIn(1, who), who.sign({ content: "at home" })];
  const deletion = who.sign({ kind: 5, tags: [["e", deleted.id]] });
  for (const event of [...jobs, deleted, note, deletion]) assert.deepEqual(await publishAs(first, who, event), [true, ""]);
  await first.stop();
  const exported = nexus(["export", "--sql", sql], { env: from });
  assert.equal(exported.code, 0, exported.err);
  assert.deepEqual([...exported.out.matchAll(/for (DB\w*):/g)].map(([, binding]) => binding), ["DB", "DB_1"]);

  const d1 = localD1(t);
  appendFileSync(join(d1.folder, "wrangler.toml"), '\n[[d1_databases]]\nbinding = "DB_1"\ndatabase_name = "nexus-1"\ndatabase_id = "nexus-1"\n');
  done(d1.apply(MIGRATIONS));
  done(d1.d1("migrations", "apply", "DB_1"));
  const dumps = [];
  for (const binding of ["DB", "DB_1"]) {
    for (const file of pieces(sql, binding)) done(d1.d1("execute", binding, "--file", file));
    dumps.push(join(there, `${binding}.sql`));
    done(d1.dump(binding, dumps.at(-1)));
  }
  const both = await rowsOf(d1);
  const own = ({ partitions }) => Number(partitions[0].split(",")[3]);
  for (const [n, name] of ["nexus.sqlite", "nexus-1.sqlite"].entries()) assert.deepEqual(differ(await rows(join(here, name)), both.find((one) => own(one) === n)), [], name);
  const check = async (relay) => {
    const agent = await rawAgent(relay, other);
    agent.send(["REQ", "all", { kinds: [1, 5, 5050] }]);
    const ids = [];
    for (let frame; (frame = await agent.next(10_000))[0] === "EVENT"; ) ids.push(frame[2].id);
    agent.close();
    assert.deepEqual(ids.sort(), [...jobs, note, deletion].map(({ id }) => id).sort());
    assert.match((await publishAs(relay, who, deleted))[1], /^blocked: /);
  };
  const second = await worker(d1, { PARTITIONS: 2 });
  await check(second);
  await second.stop();

  const swapped = nexus(["import", "--d1", dumps[1], dumps[0]], { env: to });
  assert.equal(swapped.code, 1);
  assert.match(swapped.err, /DB_1\.sql: the database has partition 1 of 2, and is used as partition 0 of 2/);
  assert.match(nexus(["import", "--d1", dumps[0]], { env: to }).err, /PARTITIONS is 2, and 1 files are named: each partition has one/);
  assert.deepEqual(readdirSync(back).filter((name) => !name.endsWith(".lock")), [], "nothing is left of what failed");
  assert.equal(nexus(["import", "--d1", ...dumps], { env: to }).code, 0);
  const third = await open({ persist: back, vars });
  await check(third);
  await third.stop();
  assert.match(nexus(["import", "--d1", ...dumps], { env: to }).err, /nexus\.sqlite is there already: name another file/);
});

test("a D1 that has not all of it is one that no relay uses, and one that a relay has written to is left alone", { timeout: 240_000 }, async (t) => {
  const [here, there] = [folder(t), folder(t)];
  const env = { STORAGE_PATH: join(here, "nexus.sqlite") };
  const sql = join(there, "sql");
  const first = await open({ persist: here, vars: VARS });
  const who = author();
  const events = Array.from({ length: 3 }, (_, n) => who.sign({ content: `${n}` }));
  for (const event of events) assert.deepEqual(await publishAs(first, who, event), [true, ""]);
  await first.stop();
  assert.equal(nexus(["export", "--sql", sql], { env }).code, 0);
  assert.match(nexus(["export", "--sql", sql], { env }).err, /sql is not empty: name another folder/);
  const [file] = pieces(sql, "DB");
  const statements = readFileSync(file, "utf8");
  const d1 = localD1(t);
  done(d1.apply(MIGRATIONS));
  const execute = (text) => {
    const path = join(there, "some.sql");
    writeFileSync(path, text);
    return d1.d1("execute", "DB", "--file", path);
  };
  // One that a relay has written to.
  const relay = await worker(d1);
  assert.deepEqual(await publishAs(relay, who, who.sign({ content: "here before" })), [true, ""]);
  await relay.stop();
  assert.match(execute(statements).failed, /NOT NULL constraint failed: totals\.version/);
  const again = await worker(d1);
  assert.equal((await again.stats()).events.stored, 1);
  await again.stop();

  const other = localD1(t);
  done(other.apply(MIGRATIONS));
  const into = (text) => {
    const path = join(there, "some.sql");
    writeFileSync(path, text);
    return other.d1("execute", "DB", "--file", path);
  };
  // The end of it is missing.
  const end = statements.indexOf("-- It fails of version where a file");
  done(into(statements.slice(0, end)));
  const half = await worker(other);
  const [, , accepted, reason] = await publish(await rawAgent(half, who), who.sign({ content: "too early" }), 30_000);
  assert.deepEqual([accepted, /^error: /.test(reason)], [false, true], reason);
  const health = await fetch(`${half.http}/health`);
  assert.deepEqual([health.status, (await health.json()).error], [503, "database: the totals row is missing; apply the migrations, or what is left of an import"]);
  await half.stop();
  // Something in the middle is missing.
  done(into("DELETE FROM tags; DELETE FROM events WHERE seq = 2;"));
  assert.match(into(statements.slice(end)).failed, /NOT NULL constraint failed: totals\.version/);
  // What was done is done again, and it is whole.
  done(into(statements));
  const whole = await worker(other);
  assert.equal((await whole.stats()).events.stored, 3);
  const [known, why] = await publishAs(whole, who, events[0]);
  assert.deepEqual([known, /^duplicate: /.test(why)], [true, true], why);
  await whole.stop();
});
