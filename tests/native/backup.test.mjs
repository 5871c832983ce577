// `nexus backup`, and restores of what it made: by the commands of docs/OPERATE.md, beside a relay that is busy.
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, statSync, statfsSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { PROGRAM } from "../support/native.mjs";
import { jobIn } from "../support/partitions.mjs";
import { author, rawAgent, sleep } from "../support/relay.mjs";
import { cannot, client, folder, nexus, open, publish, stored } from "./support.mjs";

/** Runs the program beside clients of this process. */
async function beside(args, env) {
  try {
    const { stdout, stderr } = await promisify(execFile)(PROGRAM, args, { env: { PATH: process.env.PATH, RELAY_URL: "wss://nexus.example", ...env } });
    return { code: 0, out: stdout, err: stderr };
  } catch ({ code, stdout, stderr }) {
    return { code, out: stdout, err: stderr };
  }
}

const left = (path) => readdirSync(path).filter((name) => name.endsWith(".part"));

/** Somebody who publishes one event after the other until `stop`; `took` has how long each OK took, in milliseconds. */
async function busy(relay, content) {
  const [one, who] = [await client(relay), author()];
  const [acknowledged, took] = [[], []];
  let going = true;
  const done = (async () => {
    while (going) {
      const event = who.sign({ content: `${acknowledged.length} ${content}` });
      const begun = performance.now();
      assert.equal((await publish(one, event, 30_000))[2], true);
      took.push(performance.now() - begun);
      acknowledged.push(event.id);
    }
    one.close();
  })();
  return { who, acknowledged, took, stop: () => ((going = false), done) };
}

/** The commands of a paragraph of docs/OPERATE.md that restore a backup, for a relay that is in other folders. */
function commands(places) {
  const text = readFileSync("docs/OPERATE.md", "utf8").split("\n## Backup and restore\n")[1].split("\n## ")[0];
  const block = [...text.matchAll(/```sh\n(.*?)```/gs)].map(([, lines]) => lines).find((lines) => lines.includes("lost/"));
  const lines = block.split("\n").map((line) => line.replace(/ +#.*$/, "")).filter(Boolean);
  assert.deepEqual([lines[0], lines.at(-1)], ["systemctl stop nexus", "systemctl start nexus"]);
  return lines.slice(1, -1).map((line) => Object.entries(places).reduce((line, [from, to]) => line.replaceAll(from, to), line));
}

test("a backup under load has all that was acknowledged before it began, and is restored as OPERATE.md has it", { timeout: 240_000 }, async (t) => {
  const [persist, backups] = [folder(t), folder(t)];
  const file = join(backups, "nexus.sqlite");
  const env = { STORAGE_PATH: join(persist, "nexus.sqlite") };
  const relay = await open({ persist });
  const filler = await client(relay);
  const fills = author();
  const before = Array.from({ length: 1500 }, (_, n) => fills.sign({ kind: 1, content: `${n} ${"x".repeat(8000)}` }));
  before.forEach((event) => filler.send(["EVENT", event]));
  for (const _ of before) assert.equal((await filler.next(60_000))[2], true);
  filler.close();
  const publishers = await Promise.all(Array.from({ length: 4 }, () => busy(relay, "y".repeat(500))));
  while (publishers.some(({ acknowledged }) => acknowledged.length < 20)) await sleep(20);

  const counts = () => publishers.map(({ acknowledged }) => acknowledged.length);
  const first = counts();
  const { code, out, err } = await beside(["backup", file], env);
  const last = counts();
  assert.equal(code, 0, err);
  assert.match(out, new RegExp(`^${file}: 1\\d\\.\\d MB, checked\n$`));
  assert.ok(last.every((count, n) => count > first[n]), "nobody waited for it");
  assert.deepEqual([statSync(file).mode & 0o777, left(backups)], [0o600, []]);
  await sleep(300);
  await Promise.all(publishers.map(({ stop }) => stop()));
  t.diagnostic(`during ${last.map((count, n) => count - first[n])} events the longest OK took ${Math.max(...publishers.flatMap(({ took }, n) => took.slice(first[n], last[n]))).toFixed(0)} ms`);
  await relay.stop();

  const done = spawnSync("bash", ["-euc", commands({ "/var/lib/nexus": persist, "/var/backups": backups }).join("\n")], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  const restored = await open({ persist });
  assert.deepEqual((await (await fetch(`${restored.http}/health`)).json()), { status: "ok" });
  const one = await client(restored);
  const count = async (who) => {
    one.send(["COUNT", "all", { authors: [who.pubkey] }]);
    return (await one.next(10_000))[2].count;
  };
  for (const [n, { who, acknowledged }] of publishers.entries()) {
    const has = await count(who);
    assert.ok(has >= first[n] && has <= last[n] + 1, `${has} of ${first[n]} to ${last[n]}`);
    // It is of one moment: of what one client published one after the other it has what came first.
    const found = [];
    for (let at = 0; at < acknowledged.length; at += 400) found.push(...(await stored(restored, { ids: acknowledged.slice(at, at + 400) })));
    const ids = new Set(found.map(({ id }) => id));
    assert.deepEqual(acknowledged.slice(0, has).filter((id) => !ids.has(id)), []);
    assert.ok(acknowledged.length > has, "the relay that was backed up went on");
  }
  assert.equal(await count(fills), before.length);
  assert.equal((await publish(one, author().sign({ content: "afterwards" })))[2], true);
  one.close();
  await restored.stop();
  assert.equal(nexus(["backup", `${file}.2`], { env }).code, 0, "and without a relay that runs");
});

test("several partitions are one file each: jobs are whole, and what was deleted stays deleted", { timeout: 240_000 }, async (t) => {
  const [persist, backups] = [folder(t), folder(t)];
  const vars = { PARTITIONS: 2 };
  const env = { STORAGE_PATH: join(persist, "nexus.sqlite"), PARTITIONS: "2" };
  const relay = await open({ persist, vars });
  const [buyer, provider] = [author(), author()];
  const agents = new Map(await Promise.all([buyer, provider].map(async (who) => [who, await rawAgent(relay, who)])));
  const say = async (who, event) => {
    const [, , accepted, reason] = await publish(agents.get(who), event, 10_000);
    assert.equal(accepted, true, reason);
    return event;
  };
  const answer = (job) => provider.sign({ kind: 6050, tags: [["e", job.id], ["p", buyer.pubkey]] });
  const jobs = [];
  for (let n = 0; n < 20; n++) {
    const job = await say(buyer, jobIn(n % 2, buyer));
    jobs.push({ job, result: await say(provider, answer(job)) });
  }
  // Jobs and deletions go on while it is made.
  let going = true;
  const deleted = [];
  const goesOn = (async () => {
    for (let n = 0; going; n++) {
      const job = await say(buyer, jobIn(n % 2, buyer));
      await say(provider, answer(job));
      await say(buyer, buyer.sign({ kind: 5, tags: [["e", job.id]] }));
      deleted.push(job);
    }
  })();
  while (deleted.length < 10) await sleep(20);
  const certain = deleted.length;
  const { code, out, err } = await beside(["backup", join(backups, "nexus.sqlite")], env);
  going = false;
  await goesOn;
  assert.equal(code, 0, err);
  assert.deepEqual(out.trim().split("\n").map((line) => line.split(": ")[0]), ["nexus-1.sqlite", "nexus.sqlite"].map((name) => join(backups, name)));
  agents.forEach((one) => one.close());
  await relay.stop();

  const there = folder(t);
  for (const name of ["nexus.sqlite", "nexus-1.sqlite"]) copyFileSync(join(backups, name), join(there, name));
  const restored = await open({ persist: there, vars });
  const one = await rawAgent(restored, buyer);
  const ask = async (filter) => {
    one.send(["REQ", "q", filter]);
    const ids = [];
    for (let frame; (frame = await one.next()) && frame[0] === "EVENT"; ) ids.push(frame[2].id);
    return ids;
  };
  for (const { job, result } of jobs) assert.deepEqual((await ask({ "#e": [job.id], kinds: [6050] })).concat(await ask({ ids: [job.id] })), [result.id, job.id]);
  for (const job of deleted.slice(0, certain)) assert.match((await publish(one, job))[3], /^blocked: .*deleted/);
  // One that was on its way in that moment is whole when it is sent again.
  for (const job of deleted.slice(certain)) {
    const again = buyer.sign({ kind: 5, tags: [["e", job.id]] });
    assert.equal((await publish(one, again))[2], true);
    assert.match((await publish(one, job))[3], /^blocked: .*deleted/);
  }
  one.close();
  await restored.stop();
});

test("what cannot be done is said with its cause and how it is mended, and leaves nothing behind", { timeout: 120_000 }, async (t) => {
  const here = folder(t);
  const [path, file] = [join(here, "nexus.sqlite"), join(here, "copy.sqlite")];
  const env = { STORAGE_PATH: path };
  const fails = (pattern, to = file, more = {}) => {
    const { code, err, out } = nexus(["backup", to], { env: { ...env, ...more } });
    assert.equal(code, 1, out);
    assert.match(err, pattern);
    assert.deepEqual(left(here), []);
    assert.equal(existsSync(file), false);
  };
  fails(new RegExp(`^nexus: there is no ${path}; storage.path \\(STORAGE_PATH\\) says where the database is\n$`));
  const { DatabaseSync } = await import("node:sqlite");
  const other = new DatabaseSync(join(here, "other.sqlite"));
  other.exec("CREATE TABLE t (a)");
  other.close();
  fails(/a database, but not a relay's: name another one in storage\.path/, file, { STORAGE_PATH: join(here, "other.sqlite") });
  writeFileSync(join(here, "garbage.sqlite"), "hello".repeat(1000));
  fails(/garbage\.sqlite: file is not a database/, file, { STORAGE_PATH: join(here, "garbage.sqlite") });

  assert.match(nexus(["migrate"], { env }).out, /migrations applied/);
  fails(/there\/copy\.sqlite\.part: No such file or directory.*; its folder must be there/, join(here, "not/there/copy.sqlite"));
  fails(/other\.sqlite is there already: name another file, or move it away/, join(here, "other.sqlite"));
  fails(/nexus\.sqlite is there already/, path);
  fails(/Not a directory/, join(path, "copy.sqlite"));

  // Another program has it for itself.
  const db = new DatabaseSync(path);
  db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; INSERT INTO deletions VALUES ('a', 1)");
  fails(/nexus\.sqlite: database is locked.*: another program has locked it; end that one, or try again when it is done/);
  db.exec("COMMIT");
  db.close();

  // One that is being made to the same name, and one that was killed.
  writeFileSync(`${file}.part`, "left by another one");
  const holds = spawn("flock", [`${file}.part`, "sleep", "60"], { stdio: "ignore", detached: true });
  while (spawnSync("flock", ["-n", `${file}.part`, "true"]).status === 0) await sleep(20);
  const { code, err } = nexus(["backup", file], { env });
  assert.deepEqual([code, /copy\.sqlite\.part is being written by another nexus: wait for its end, or name another file/.test(err)], [1, true], err);
  assert.equal(readFileSync(`${file}.part`, "utf8"), "left by another one");
  process.kill(-holds.pid, "SIGKILL");
  await once(holds, "exit");
  while (spawnSync("flock", ["-n", `${file}.part`, "true"]).status !== 0) await sleep(20);
  const made = nexus(["backup", file], { env });
  assert.equal(made.code, 0, made.err);
  assert.deepEqual(left(here), []);
  rmSync(file);

  // It is damaged: a page in the middle is not what it was.
  const big = new DatabaseSync(path);
  big.exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO deletions SELECT 'key ' || i, 1 FROM n; PRAGMA wal_checkpoint(TRUNCATE)");
  big.close();
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(4096, 0x5a), 0, 4096, 4096 * 60);
  fails(/it is damaged: |database disk image is malformed/);
});

test("a disk without room, or that may not be written to, is named", { timeout: 120_000 }, async (t) => {
  const [here, small] = [folder(t), folder(t)];
  const env = { STORAGE_PATH: join(here, "nexus.sqlite") };
  nexus(["migrate"], { env });
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", small], { encoding: "utf8" });
  if (mounted.status !== 0) return cannot(t, `a small file system needs root: ${mounted.stderr}`);
  try {
    roomless(small, env);
  } finally {
    spawnSync("umount", ["--lazy", small]);
  }
});

/** What is said of a disk that is too small at first, and may not be written to in the end. */
function roomless(small, env) {
  const file = join(small, "copy.sqlite");
  const full = nexus(["backup", file], { env });
  assert.equal(full.code, 1);
  assert.match(full.err, /copy\.sqlite: it takes \d+ MB, and \d+ MB are free in .*; make room, or name a file on another disk/);
  assert.deepEqual(readdirSync(small), []);
  assert.equal(spawnSync("mount", ["-o", "remount,size=4m", small]).status, 0);
  assert.ok(statfsSync(small).bavail > 0);
  assert.equal(nexus(["backup", file], { env }).code, 0);
  assert.equal(spawnSync("mount", ["-o", "remount,ro", small]).status, 0);
  assert.match(nexus(["backup", join(small, "another.sqlite")], { env }).err, /another\.sqlite\.part: Read-only file system/);
}

test("a backup is given up before commits would have to wait for the log that it keeps", { timeout: 120_000 }, async (t) => {
  const persist = folder(t);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=60m", "tmpfs", persist], { encoding: "utf8" });
  if (mounted.status !== 0) return cannot(t, `a small file system needs root: ${mounted.stderr}`);
  try {
    await crowded(persist, folder(t));
  } finally {
    spawnSync("umount", ["--lazy", persist]);
  }
});

/** Makes a backup while another one who reads has the relay keep nearly as much of its log as the disk has room for. */
async function crowded(persist, backups) {
  const path = join(persist, "nexus.sqlite");
  const relay = await open({ persist });
  const [one, who] = [await client(relay), author()];
  const wal = () => statSync(`${path}-wal`).size;
  const most = () => (statfsSync(persist).bavail * statfsSync(persist).bsize + wal()) / 4;
  let events = 0;
  const write = async (enough) => {
    while (!enough()) assert.equal((await publish(one, who.sign({ content: `${events++} ${"x".repeat(20_000)}` }), 1000))[2], true);
  };
  await write(() => statSync(path).size > 10e6);
  const { DatabaseSync } = await import("node:sqlite");
  const reader = new DatabaseSync(path, { readOnly: true });
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM events").get();
  await write(() => wal() > 0.85 * most());
  const file = join(backups, "copy.sqlite");
  const { code, err } = await beside(["backup", file], { STORAGE_PATH: path });
  assert.equal(code, 1);
  assert.match(err, /nexus\.sqlite: the relay writes more meanwhile than its disk has room for beside this backup, so it was given up; make room, or name a file on another disk/);
  assert.deepEqual(readdirSync(backups), []);
  reader.close();
  await write(() => wal() < 0.5 * most());
  assert.equal((await beside(["backup", file], { STORAGE_PATH: path })).code, 0);
  one.close();
  await relay.stop();
}

test("a backup is made only by who may read the relay's file", (t) => {
  const here = folder(t);
  const env = { STORAGE_PATH: join(here, "nexus.sqlite") };
  nexus(["migrate"], { env });
  chmodSync(here, 0o755);
  const open = join(here, "open");
  mkdirSync(open);
  chmodSync(open, 0o777);
  chmodSync(env.STORAGE_PATH, 0o600);
  const nobody = spawnSync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", PROGRAM, "backup", join(open, "copy.sqlite")], { encoding: "utf8", env: { PATH: process.env.PATH, RELAY_URL: "wss://nexus.example", ...env } });
  if (nobody.error || /setpriv|Permission denied.*exec/.test(nobody.stderr)) return cannot(t, `nobody cannot run it here: ${nobody.error ?? nobody.stderr}`);
  assert.equal(nobody.status, 1);
  assert.match(nobody.stderr, /nexus\.sqlite: unable to open database file|nexus\.sqlite: .*denied/i);
  assert.deepEqual(readdirSync(open), []);
});

test("who reads for long, as a backup of a large file does, holds up neither events nor the end", { timeout: 60_000 }, async (t) => {
  const persist = folder(t);
  const relay = await open({ persist });
  const one = await client(relay);
  const who = author();
  assert.equal((await publish(one, who.sign({ content: "first" })))[2], true);
  const { DatabaseSync } = await import("node:sqlite");
  const reader = new DatabaseSync(join(persist, "nexus.sqlite"), { readOnly: true });
  reader.exec("BEGIN");
  assert.equal(reader.prepare("SELECT count(*) AS n FROM events").get().n, 1);
  for (let n = 0; n < 50; n++) assert.equal((await publish(one, who.sign({ content: `${n}` }), 1000))[2], true);
  one.close();
  const begun = performance.now();
  await relay.stop();
  assert.ok(performance.now() - begun < 5000);
  assert.equal(reader.prepare("SELECT count(*) AS n FROM events").get().n, 1);
  reader.close();
  const again = await open({ persist });
  assert.equal((await stored(again, { kinds: [1] })).length, 51);
  await again.stop();
});
