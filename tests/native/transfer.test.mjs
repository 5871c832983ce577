// Events from and to files.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { PROGRAM } from "../support/native.mjs";
import { author, seconds, sleep } from "../support/relay.mjs";
import { folder, nexus, open, stored } from "./support.mjs";

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
  assert.match(imported.err, /602 events stored, 0 were here or are outdated, 0 refused/);
  assert.match(nexus(["import", file], a).err, /0 events stored, 602 were here or are outdated, 0 refused/);

  const relay = await open({ persist: here });
  const exported = nexus(["export"], a);
  assert.deepEqual(lines(exported.out).map((line) => JSON.parse(line)), events, "in the order they were stored");
  assert.equal((await stored(relay, { kinds: [31990], "#k": ["5050"] })).length, 1);
  const some = nexus(["export", "--filter", '{"#t":["3"],"kinds":[1]}'], a);
  assert.deepEqual(lines(some.out).map((line) => JSON.parse(line)), events.filter(({ tags }) => tags[0][1] === "3"));
  await relay.stop();

  writeFileSync(file, exported.out);
  nexus(["import", file], b);
  assert.equal(nexus(["export"], b).out, exported.out);
  assert.match(nexus(["export", "--filter", '{"nonsense":1}'], b).err, /^nexus: unsupported: filter: unknown key "nonsense"/);
});

test("what is no event, or no valid one, is told by its line and stops nothing", (t) => {
  const here = folder(t);
  const file = join(here, "events.jsonl");
  const [good, other] = many(2);
  const bad = ["hello", "", JSON.stringify({ ...good, content: "altered" }), JSON.stringify([good]), `{"x":"${"y".repeat(3_000_000)}"}`];
  writeFileSync(file, [JSON.stringify(good), ...bad, JSON.stringify(other)].join("\n"));
  const { code, err } = nexus(["import", file], { env: { STORAGE_PATH: join(here, "nexus.sqlite") } });
  assert.equal(code, 0, err);
  assert.match(err, /line 2: invalid: /);
  assert.match(err, /line 4: invalid: id /);
  assert.doesNotMatch(err, /line 1:/);
  assert.match(err, /^2 events stored, 0 were here or are outdated, \d refused$/m);
  assert.equal(nexus(["import", join(here, "nothing")], {}).code, 1);
});

test("an import that was killed goes on where it was", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const file = join(here, "events.jsonl");
  const events = many(4000);
  write(file, events);
  const env = { STORAGE_PATH: join(here, "nexus.sqlite"), RELAY_URL: "wss://nexus.example" };
  const mark = `${env.STORAGE_PATH}.import`;
  const first = spawn(PROGRAM, ["import", file], { env, stdio: "ignore" });
  const ended = new Promise((resolve) => first.on("exit", resolve));
  while (!existsSync(mark)) await sleep(2);
  await sleep(30);
  first.kill("SIGKILL");
  await ended;
  const { lines: done } = JSON.parse(readFileSync(mark, "utf8"));
  const second = nexus(["import", file], { env });
  assert.equal(second.code, 0, second.err);
  assert.match(second.err, new RegExp(`going on after line ${done} of `));
  const [, stored, known] = /(\d+) events stored, (\d+) were here/.exec(second.err).map(Number);
  // A group that was stored and not noted is met again.
  assert.ok(stored + known === 4000 - done && known <= 256, second.err);
  assert.equal(existsSync(mark), false);
  assert.deepEqual(lines(nexus(["export"], { env }).out).length, 4000);
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
  const quoted = kept.trim().replaceAll("'", "''");
  writeFileSync(sql, `INSERT INTO events (seq, id, tie, pubkey, kind, shelf, created_at, keys, came_ms, json) VALUES (1, '${event.id}', 0, '${event.pubkey}', 1, 1, ${event.created_at}, '[]', 0, '${quoted}'); UPDATE totals SET last_seq = 1;`);
  wrangler("execute", "nexus-relay", "--file", sql);
  const dump = join(here, "dump.sql");
  wrangler("export", "nexus-relay", "--output", dump);
  const { code, out, err } = nexus(["export", "--d1", dump], { env });
  assert.equal(code, 0, err);
  assert.equal(out, kept);
  assert.equal(nexus(["export", "--d1", join(here, "events.jsonl")], { env }).code, 1);
});
