// Events from and to files.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { PROGRAM } from "../support/native.mjs";
import { author, rawAgent, seconds, sleep } from "../support/relay.mjs";
import { kept } from "../upgrade/kept.mjs";
import { VARS, answers, goOn } from "../upgrade/market.mjs";
import { folder, nexus, open, publish, stored } from "./support.mjs";

const who = author();
const lines = (text) => text.split("\n").filter(Boolean);
const write = (path, events) => writeFileSync(path, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
const many = (count, kind = 1) => Array.from({ length: count }, (_, n) => who.sign({ kind, created_at: seconds() - n, tags: [["t", `${n % 7}`]], content: `${n}` }));

test("what is exported can be imported elsewhere, beside a relay that runs and through a filter", { timeout: 120_000 }, async (t) => {
  const [here, there] = [folder(t), folder(t)];
  const file = join(here, "events.jsonl");
  const events = [...many(600), who.sign({ kind: 5, tags: [["e", "ab".repeat(32)]] }), who.sign({ kind: 31990, tags: [["d", "h"], ["k", "5050"]] })];
  write(file, events);
  const [a, b] = [here, there].map((path) => ({ env: { STORAGE_PATH: join(path, "nexus.sqlite") } }));
  const imported = nexus(["import", file], a);
  assert.equal(imported.code, 0, imported.err);
  assert.match(imported.err, /602 events stored, 0 were here or are outdated, 0 refused$/m);
  assert.match(nexus(["import", file], a).err, /0 events stored, 602 were here or are outdated, 0 refused/);

  const relay = await open({ persist: here });
  const exported = nexus(["export"], a);
  const [deletion, ...after] = lines(exported.out).map((line) => JSON.parse(line));
  assert.deepEqual(deletion, { deletion: { key: `${who.pubkey} ${"ab".repeat(32)}`, until: 2 ** 53 } });
  assert.deepEqual(after, events, "in the order they were stored");
  // Other tools read events alone.
  assert.deepEqual(lines(nexus(["export", "--filter", "{}"], a).out).map((line) => JSON.parse(line)), events);
  assert.equal((await stored(relay, { kinds: [31990], "#k": ["5050"] })).length, 1);
  const some = nexus(["export", "--filter", '{"#t":["3"],"kinds":[1]}'], a);
  assert.deepEqual(lines(some.out).map((line) => JSON.parse(line)), events.filter(({ tags }) => tags[0][1] === "3"));
  await relay.stop();

  writeFileSync(file, exported.out);
  nexus(["import", file], b);
  assert.equal(nexus(["export"], b).out, exported.out);
  assert.match(nexus(["export", "--filter", '{"nonsense":1}'], b).err, /^nexus: unsupported: filter: unknown key "nonsense"/);
});

test("a bad line is one refused line, whatever is in it", (t) => {
  const here = folder(t);
  const file = join(here, "events.jsonl");
  const [good, other, last] = many(3);
  const signed = (event) => JSON.stringify(who.sign(event));
  const bad = {
    "invalid: event: ": "hello",
    "invalid: id ": JSON.stringify({ ...good, content: "altered" }),
    "invalid: event:": JSON.stringify([good]),
    "invalid: the line is over 2000000 bytes": `{"x":"${"y".repeat(10_000_000)}"}`,
    "invalid: the line is not UTF-8": Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]),
    "invalid: event:  ": `${"[".repeat(500_000)}${"]".repeat(500_000)}`,
    "invalid: sig ": JSON.stringify({ ...other, sig: "0".repeat(128) }),
    "invalid: event:   ": "\0".repeat(1000),
    "invalid: ephemeral events are not kept": signed({ kind: 20001 }),
    "invalid: created_at is in the future": signed({ created_at: seconds() + 100_000 }),
    "invalid: the event has expired": signed({ tags: [["expiration", "1600000000"]] }),
    "invalid: e tag is missing": signed({ kind: 7000 }),
    "invalid: key must begin": '{"deletion":{"key":"nobody","until":1}}',
    "invalid: missing field `until`": '{"deletion":{"key":"nobody"}}',
    "invalid: state must be": JSON.stringify({ job: { id: good.id, until: 1, state: 99, kind: 5050, customer: who.pubkey, encrypted: false, asked_ms: 1, unasked: {} } }),
    "invalid: kind must be": JSON.stringify({ job: { id: good.id, until: 1, state: 0, kind: 1, customer: who.pubkey, encrypted: false, asked_ms: 1, unasked: {} } }),
  };
  const newline = Buffer.from("\n");
  const text = [JSON.stringify(good), "", ...Object.values(bad), JSON.stringify(other), `  ${JSON.stringify(last)}\r`, JSON.stringify(good).slice(0, 100)];
  writeFileSync(file, Buffer.concat(text.flatMap((line, at) => [Buffer.from(line), at + 1 < text.length ? newline : Buffer.alloc(0)])));
  const { code, err } = nexus(["import", file], { env: { STORAGE_PATH: join(here, "nexus.sqlite") } });
  assert.equal(code, 0, err);
  for (const [at, reason] of Object.keys(bad).entries()) assert.ok(err.includes(`line ${at + 3}: ${reason.trimEnd()}`), `line ${at + 3} ${reason} in ${err}`);
  assert.match(err, new RegExp(`^line ${text.length}: invalid: `, "m"));
  assert.match(err, new RegExp(`^3 events stored, 0 were here or are outdated, ${Object.keys(bad).length + 1} refused$`, "m"));
  assert.equal(nexus(["import", join(here, "nothing")], {}).code, 1);
});

test("a file of other tables is left by the commands that its refusal names", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const [path, file] = [join(here, "nexus.sqlite"), join(here, "events.jsonl")];
  const provider = author();
  const [gone, kept] = many(2);
  const job = who.sign({ kind: 5050, tags: [["i", "x", "text"], ["p", provider.pubkey], ["encrypted"]], created_at: seconds() - 10 });
  const result = provider.sign({ kind: 6050, tags: [["e", job.id], ["p", who.pubkey]], content: "secret" });
  const deletion = who.sign({ kind: 5, tags: [["e", gone.id], ["e", job.id]] });
  write(file, [gone, kept, job, result, deletion]);
  const env = { STORAGE_PATH: path };
  assert.equal(nexus(["import", file], { env }).code, 0);
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path);
  // Neither is the deletion's event there any more.
  db.exec(`DELETE FROM events WHERE kind = 5;
    ALTER TABLE totals DROP COLUMN day; ALTER TABLE totals DROP COLUMN spent; ALTER TABLE totals DROP COLUMN version;
    ALTER TABLE totals DROP COLUMN writer; ALTER TABLE jobs DROP COLUMN unasked; ALTER TABLE vanishing DROP COLUMN shelf`);
  db.close();
  const refused = nexus([], { env }).err;
  const [, way, back] = /`nexus (export) > events\.jsonl`, then name another file in storage\.path \(STORAGE_PATH\), then `nexus (import) events\.jsonl`/.exec(refused);
  const exported = nexus([way], { env });
  assert.equal(exported.code, 0, exported.err);
  writeFileSync(file, exported.out);
  const anew = join(here, "new.sqlite");
  const imported = nexus([back, file], { env: { STORAGE_PATH: anew } });
  assert.match(imported.err, /^2 events stored, 0 were here or are outdated, 0 refused; 3 deletions and jobs remembered$/m);

  const relay = await open({ vars: { STORAGE_PATH: anew } });
  assert.deepEqual((await stored(relay, {})).map(({ id }) => id), [kept.id], "the result is for its parties, though the job's request is gone");
  const customer = await rawAgent(relay, who);
  customer.send(["REQ", "mine", { "#e": [job.id] }]);
  assert.deepEqual(await customer.next(), ["EVENT", "mine", result]);
  assert.equal((await customer.next())[0], "EOSE");
  for (const event of [gone, job]) assert.match((await publish(customer, event))[3], /^blocked: .*deleted/);
  customer.close();
  await relay.stop();
});

test("what 0.1 wrote is not upgraded but moved: by the new program, from its file and from what wrangler exports", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const [file, out, anew] = ["nexus.sqlite", "events.jsonl", "new.sqlite"].map((name) => join(here, name));
  const env = { STORAGE_PATH: file, RETAIN_REQUESTS: "0", RETAIN_FEEDBACK: "0", RETAIN_RESULTS: "0" };
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(file);
  db.exec(readFileSync("tests/upgrade/0.1.0.sql", "utf8"));
  db.exec(`PRAGMA user_version = 1; PRAGMA application_id = ${0x6e657873}`);
  db.close();
  const before = readFileSync(file);
  assert.match(nexus([], { env }).err, /another schema than this version needs: .*It was left as it is\. To move its events: `nexus export > events\.jsonl`/s);
  assert.deepEqual(readFileSync(file), before);
  const exported = nexus(["export"], { env });
  assert.equal(exported.code, 0, exported.err);
  assert.equal(nexus(["export", "--d1", "tests/upgrade/0.1.0.sql"], { env }).out, exported.out);
  writeFileSync(out, exported.out);
  assert.match(nexus(["import", out], { env: { ...env, STORAGE_PATH: anew } }).err, /^55 events stored, 0 were here or are outdated, 0 refused; 7 deletions and jobs remembered$/m);

  const { told, said } = kept("0.1.0");
  const relay = await open({ vars: { ...VARS, STORAGE_PATH: anew } });
  const found = await answers(relay, told);
  const events = (texts) => texts.filter((text) => text.startsWith('["EVENT"'));
  const asked = Object.keys(said).filter((question) => question.includes("REQ"));
  assert.ok(asked.flatMap((question) => events(said[question])).length > 200);
  for (const question of asked) assert.deepEqual(events(found[question]), events(said[question]), question);
  assert.deepEqual(found.counts.states, said.counts.states);
  await goOn(relay, told, assert);
  await relay.stop();
});

/** Begins an import and kills it after some groups; what it has noted by then. */
async function begun(file, env) {
  const mark = `${env.STORAGE_PATH}.import`;
  const first = spawn(PROGRAM, ["import", file], { env, stdio: "ignore" });
  const ended = new Promise((resolve) => first.on("exit", resolve));
  while (!existsSync(mark)) await sleep(2);
  await sleep(30);
  first.kill("SIGKILL");
  await ended;
  return JSON.parse(readFileSync(mark, "utf8"));
}

test("an import that was killed goes on where it was", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const file = join(here, "events.jsonl");
  const events = many(4000);
  write(file, events);
  const env = { STORAGE_PATH: join(here, "nexus.sqlite"), RELAY_URL: "wss://nexus.example" };
  const { lines: done } = await begun(file, env);
  const second = nexus(["import", file], { env });
  assert.equal(second.code, 0, second.err);
  assert.match(second.err, new RegExp(`going on after line ${done} of `));
  const [, stored, known] = /(\d+) events stored, (\d+) were here/.exec(second.err).map(Number);
  // A group that was stored and not noted is met again.
  assert.ok(stored + known === 4000 - done && known <= 256, second.err);
  assert.equal(existsSync(`${env.STORAGE_PATH}.import`), false);
  assert.deepEqual(lines(nexus(["export"], { env }).out).length, 4000);
});

test("an import that was killed begins anew where the database or the file is another one", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const file = join(here, "events.jsonl");
  const env = { STORAGE_PATH: join(here, "nexus.sqlite"), RELAY_URL: "wss://nexus.example" };
  const [events, others] = [many(1500), many(1600)];
  write(file, events);
  await begun(file, env);
  ["", "-wal", "-shm"].forEach((ending) => rmSync(`${env.STORAGE_PATH}${ending}`));
  const anew = nexus(["import", file], { env });
  assert.match(anew.err, /^1500 events stored, 0 were here or are outdated, 0 refused$/m);

  ["", "-wal", "-shm"].forEach((ending) => rmSync(`${env.STORAGE_PATH}${ending}`, { force: true }));
  await begun(file, env);
  write(file, others);
  const another = nexus(["import", file], { env });
  assert.match(another.err, /^1600 events stored, 0 were here or are outdated, 0 refused$/m);
});

test("events come out of what wrangler exports of a D1", { timeout: 120_000 }, (t) => {
  const here = folder(t);
  const wrangler = (...args) => {
    const ran = spawnSync(resolve("node_modules/.bin/wrangler"), ["d1", ...args, "--local"], { encoding: "utf8", cwd: here, env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" } });
    assert.equal(ran.status, 0, ran.stderr + ran.stdout);
  };
  cpSync("wrangler.toml", join(here, "wrangler.toml"));
  cpSync("migrations", join(here, "migrations"), { recursive: true });
  const event = who.sign({ content: 'it\'s "quoted"; and; has\nlines' });
  write(join(here, "events.jsonl"), [event]);
  const env = { STORAGE_PATH: join(here, "nexus.sqlite") };
  nexus(["import", join(here, "events.jsonl")], { env });
  wrangler("migrations", "apply", "nexus-relay");
  const sql = join(here, "rows.sql");
  const kept = nexus(["export"], { env }).out;
  const quoted = (value) => `'${JSON.stringify(value).replaceAll("'", "''")}'`;
  const bytes = [event.id, event.pubkey, event.sig].map((hex) => `x'${hex}'`);
  writeFileSync(sql, `INSERT INTO events (seq, tie, id, pubkey, sig, kind, shelf, created_at, delay_ms, tags, content) VALUES (1, 0, ${bytes}, 1, 1, ${event.created_at}, 0, ${quoted(event.tags)}, ${quoted(event.content)}); UPDATE totals SET last_seq = 1;`);
  wrangler("execute", "nexus-relay", "--file", sql);
  const dump = join(here, "dump.sql");
  wrangler("export", "nexus-relay", "--output", dump);
  const { code, out, err } = nexus(["export", "--d1", dump], { env });
  assert.equal(code, 0, err);
  assert.equal(out, kept);
  assert.equal(nexus(["export", "--d1", join(here, "events.jsonl")], { env }).code, 1);
});

test("what a relay of 0.1 has comes out, too", (t) => {
  const here = folder(t);
  const event = who.sign({ content: "of an older relay" });
  const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
  const dump = join(here, "dump.sql");
  const [job, customer] = ["ab".repeat(32), who.pubkey];
  writeFileSync(
    dump,
    `CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT, pubkey TEXT, kind INTEGER, created_at INTEGER, expires_at INTEGER, keys TEXT, json TEXT);
     CREATE TABLE deletions (key TEXT PRIMARY KEY, until INTEGER);
     CREATE TABLE vanishing (pubkey TEXT PRIMARY KEY, until INTEGER);
     CREATE TABLE jobs (id TEXT PRIMARY KEY, until INTEGER, state INTEGER, kind INTEGER, customer TEXT, providers TEXT, encrypted INTEGER, asked_ms INTEGER);
     INSERT INTO events VALUES (1, '${event.id}', '${event.pubkey}', 1, ${event.created_at}, NULL, '[]', ${quoted(JSON.stringify(event))});
     INSERT INTO deletions VALUES ('${customer} 30023:d=x', 7);
     INSERT INTO jobs VALUES ('${job}', 9, 0, 5050, '${customer}', '["${customer}"]', 0, 3);`,
  );
  const { code, out, err } = nexus(["export", "--d1", dump], { env: {} });
  assert.equal(code, 0, err);
  const lines = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ job, deletion, id }) => [job?.id, job?.providers, deletion?.key, id]), [
    [job, [customer], undefined, undefined],
    [undefined, undefined, `${customer} 30023:d=x`, undefined],
    [undefined, undefined, undefined, event.id],
  ]);
});
