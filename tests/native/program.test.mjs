// The program itself: settings with their mistakes, files that are not its own, signals.
import assert from "node:assert/strict";
import { closeSync, existsSync, linkSync, openSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { author, reports, sleep, within } from "../support/relay.mjs";
import { client, folder, nexus, open, publish, reload, stored } from "./support.mjs";

test("each mistake in the settings is told with its key and line", (t) => {
  const file = join(folder(t), "nexus.toml");
  const check = (text, env = {}) => {
    writeFileSync(file, text);
    const { code, err, out } = nexus(["config", "check", "--config", file], { env: { RELAY_URL: "", ...env } });
    return [code, (err || out).split("\n").slice(1, -1).map((line) => line.trim().replaceAll(file, "F"))];
  };
  assert.deepEqual(check('[server]\nurl = "wss://a.example"\n'), [0, []]);
  assert.deepEqual(check('[server]\nbind = "127.0.0.1:1"\n'), [0, []], "who listens on his own machine need not name it");
  const [code, wrong] = check(
    '[server]\nbind = "here"\nnaem = "x"\n\n[limits]\nmax_filters = 0\nrate_agent = ["events"]\nrequired = true\n[nowhere]\na = 1\n[auth]\nrequired = 1.5\n',
    { MAX_LIMIT: "lots" },
  );
  assert.equal(code, 1);
  for (const line of [
    /^F:2: server\.bind must be an address and a port, as 0\.0\.0\.0:7777, not "here"$/,
    /^F:3: there is no server\.naem; there are bind, /,
    /^F:6: limits\.max_filters must be a whole number from 1 to 100, not "0"$/,
    /^F:7: limits\.rate_agent /,
    /^F:8: there is no limits\.required; it stands in \[auth\]$/,
    /^F:9: there is no section nowhere; there are server, storage, auth, limits, retention, jobs$/,
    /^F:12: auth\.required must be a text, a number, true or false, or a list$/,
    /^MAX_LIMIT \(environment\) must be a whole number from 1 to 5000, not "lots"$/,
    /^F: server\.url \(RELAY_URL\) must name the ws:\/\/ or wss:\/\/ URLs/,
  ]) {
    assert.ok(wrong.some((told) => line.test(told)), `${line} among\n${wrong.join("\n")}`);
  }
  assert.equal(wrong.length, 9, wrong.join("\n"));
  assert.match(check("[server\n")[1][0], /^F:1: /);
  assert.match(nexus(["--config", `${file}.not`]).err, /No such file.*nexus config example > /s);
  assert.match(check('[server]\nurl = "wss://a.example"\ntls_cert = "x"\n')[1][0], /^F: server\.tls_key \(TLS_KEY\) must be set as well as F:3: server\.tls_cert$/);
});

test("the example has every setting with its default, and holds", (t) => {
  const { code, out } = nexus(["config", "example"]);
  assert.equal(code, 0);
  const file = join(folder(t), "nexus.toml");
  // As an operator fills it in: all lines that set something.
  writeFileSync(file, out.replace(/^# (\w+ = )/gm, "$1"));
  const { code: checked, err } = nexus(["config", "check", "--config", file], { env: { RELAY_URL: "wss://a.example" } });
  assert.equal(checked, 0, err);
  const page = readFileSync("docs/OPERATE.md", "utf8");
  for (const [, key] of out.matchAll(/\[([A-Z_]+)\]$/gm)) assert.ok(page.includes(`| \`${key}\` |`), `${key} is not in docs/OPERATE.md`);
  for (const key of ["RELAY_NAME", "BIND", "STORAGE_PATH", "AUTH_REQUIRED", "RATE_AGENT", "RETAIN_RESULTS", "JOB_PROFILE"]) assert.ok(out.includes(`[${key}]`), key);
});

test("files that are not its own are refused, one of its own is migrated once", async (t) => {
  const path = join(folder(t), "nexus.sqlite");
  const env = { STORAGE_PATH: path, BIND: "127.0.0.1:0" };
  writeFileSync(path, "this is a letter, and not a database at all; it is long enough to have a header of its own".repeat(20));
  assert.match(nexus([], { env }).err, /file is not a database/);
  writeFileSync(path, "");
  const known = readdirSync("migrations").filter((name) => name.endsWith(".sql")).length;
  assert.match(nexus(["migrate"], { env }).out, new RegExp(`: ${known} migrations applied`));
  assert.match(nexus(["migrate"], { env }).out, /: 0 migrations applied/);
  // The header's user_version, and its application_id.
  const header = (at, value) => {
    const file = openSync(path, "r+");
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    writeSync(file, bytes, 0, 4, at);
    closeSync(file);
  };
  header(60, known + 1);
  assert.match(nexus([], { env }).err, new RegExp(`the file is of schema ${known + 1}, this nexus knows ${known}: it was written by a later one`));
  header(60, 0);
  header(68, 0);
  assert.match(nexus([], { env }).err, /a database, but not a relay's: name another one in storage\.path/);
});

test("a relay's file with another schema is refused, left as it is, and each difference is named", async (t) => {
  const path = join(folder(t), "nexus.sqlite");
  const env = { STORAGE_PATH: path, BIND: "127.0.0.1:0" };
  assert.equal(nexus(["migrate"], { env }).code, 0);
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(path);
  // As an earlier version left it, under the same user_version.
  db.exec("ALTER TABLE jobs ADD COLUMN more; DROP INDEX events_by_kind");
  db.close();
  const before = readFileSync(path);
  for (const args of [[], ["migrate"], ["import", path]]) {
    const { code, err } = nexus(args, { env });
    assert.equal(code, 1, args.join());
    assert.match(err, /another schema than this version needs: index events_by_kind is missing; table jobs has `more`, which is unknown/);
    assert.match(err, /left as it is\. To move its events: `nexus export > events\.jsonl`, .*`nexus import events\.jsonl`/);
  }
  assert.deepEqual(readFileSync(path), before);
});

test("health names what the schema lacks", async () => {
  const relay = await open();
  const health = async () => {
    const response = await fetch(`${relay.http}/health`);
    return [response.status, await response.text()];
  };
  assert.equal((await health())[0], 200);
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(join(relay.folder, "nexus.sqlite"));
  db.exec("PRAGMA busy_timeout = 5000; DROP INDEX events_by_kind");
  db.close();
  const [status, text] = await health();
  assert.equal(status, 503);
  assert.match(text, /index events_by_kind is missing/);
  await relay.stop();
});

test("two programs do not share a file", async (t) => {
  const persist = folder(t);
  const relay = await open({ persist });
  const { code, err } = nexus([], { env: { STORAGE_PATH: join(persist, "nexus.sqlite"), BIND: "127.0.0.1:0" } });
  assert.deepEqual([code, /is in use by another nexus/.test(err)], [1, true], err);
  await relay.stop();
});

test("two programs do not share a file that has two names", async (t) => {
  const persist = folder(t);
  const relay = await open({ persist });
  const other = join(persist, "other.sqlite");
  const start = () => nexus([], { env: { STORAGE_PATH: other, BIND: "127.0.0.1:0" }, timeout: 5000 });
  symlinkSync("nexus.sqlite", other);
  const { code, err } = start();
  assert.deepEqual([code, /is in use by another nexus/.test(err)], [1, true], err);
  rmSync(other);
  // Each name of a hard link would have a log of its own: what one program writes, the other one loses.
  linkSync(join(persist, "nexus.sqlite"), other);
  const { code: refused, err: why } = start();
  assert.deepEqual([refused, /has 2 names \(hard links\)/.test(why)], [1, true], why);
  await relay.stop();
});

for (const GATEWAYS of [1, 2]) {
  test(`a relay of ${GATEWAYS} threads whose log another one has taken refuses what waits, and ends`, async (t) => {
    const { DatabaseSync } = await import("node:sqlite");
    const relay = await open({ persist: folder(t), vars: { GATEWAYS } });
    const all = await Promise.all([1, 2, 3, 4].map(() => client(relay)));
    for (const one of all) assert.equal((await publish(one, author().sign({})))[2], true);
    const db = new DatabaseSync(join(relay.folder, "nexus.sqlite"));
    db.exec("PRAGMA busy_timeout = 5000; UPDATE totals SET version = version + 1, writer = '00000000000000aa 1'");
    db.close();
    const oks = await Promise.all(all.map((one) => publish(one, author().sign({}))));
    const why = "error: the event could not be stored: another relay writes to the database; publish it again";
    for (const [, , accepted, reason] of oks) assert.deepEqual([accepted, reason], [false, why]);
    assert.deepEqual(await within(5000, relay.over(), "end"), { code: 1, signal: null });
  });
}

test("an address in use is named", async () => {
  const relay = await open();
  const { code, err } = nexus([], { env: { BIND: relay.http.replace("http://", ""), STORAGE_PATH: join(relay.folder, "other.sqlite") } });
  assert.equal(code, 1);
  assert.match(err, /Address already in use.*server\.bind \(BIND\)/);
  await relay.stop();
});

test("a file that cannot be used is told with the setting that names it", (t) => {
  const here = folder(t);
  const [cert, nowhere] = ["tests/native/tls/cert.pem", join(here, "nowhere", "x")];
  const told = (args, env) => nexus(args, { env: { BIND: "127.0.0.1:0", STORAGE_PATH: join(here, "nexus.sqlite"), ...env } }).err;
  assert.match(told([], { TLS_CERT: nowhere, TLS_KEY: nowhere }), /^nexus: server\.tls_cert \(TLS_CERT\): .*nowhere\/x: No such file/);
  assert.match(told([], { TLS_CERT: cert, TLS_KEY: nowhere }), /^nexus: server\.tls_key \(TLS_KEY\): .*nowhere\/x: No such file/);
  assert.match(told([], { STORAGE_PATH: nowhere }), /nowhere\/x\.lock: No such file.*; storage\.path \(STORAGE_PATH\)/);
  assert.match(told(["export"], { STORAGE_PATH: nowhere }), /^nexus: there is no .*nowhere\/x; storage\.path \(STORAGE_PATH\)/);
  assert.match(told([], { STORAGE_PATH: here }), /is a folder; storage\.path \(STORAGE_PATH\) names a file/);
  assert.match(told(["import", nowhere], {}), /^nexus: .*nowhere\/x: No such file/);
  assert.equal(existsSync(join(here, "nexus.sqlite")), false, "nothing is left of it");
});

test("SIGTERM: what was sent is stored and acknowledged, then everybody is told to come again", async (t) => {
  const persist = folder(t);
  const relay = await open({ persist });
  const [writer, idle, who] = [await client(relay), await client(relay), author()];
  const events = Array.from({ length: 200 }, (_, n) => who.sign({ content: `${n}` }));
  events.forEach((event) => writer.send(["EVENT", event]));
  await writer.next();
  relay.program.kill("SIGTERM");
  const notice = ["NOTICE", "error: the relay restarts; connect again in some seconds"];
  const accepted = [];
  for (;;) {
    const frame = await writer.next();
    if (frame[0] === "NOTICE") {
      assert.deepEqual(frame, notice);
      break;
    }
    assert.equal(frame[2], true);
    accepted.push(frame[1]);
  }
  assert.deepEqual(await idle.next(), notice);
  for (const one of [writer, idle]) assert.deepEqual(await one.ended, { code: 1006, reason: "" });
  assert.deepEqual(await relay.over(), { code: 0, signal: null });
  assert.deepEqual(relay.lines.at(-1), { level: "info", what: "ended" });

  const again = await open({ persist });
  const ids = new Set((await stored(again, { kinds: [1] })).map(({ id }) => id));
  assert.deepEqual(accepted.filter((id) => !ids.has(id)), []);
  await again.stop();
});

test("what was counted is there after an end by SIGTERM", async (t) => {
  const persist = folder(t);
  const relay = await open({ persist });
  const one = await client(relay);
  one.send(["EVENT", { id: "x" }]);
  assert.equal((await one.next())[2], false);
  one.close();
  await relay.stop();
  const again = await open({ persist });
  assert.equal((await again.stats()).events.rejected.invalid, 1);
  await again.stop();
});

/** A relay whose file another program has locked, with an event that waits for it and a client that is told nothing. */
async function stuck() {
  const relay = await open();
  const { DatabaseSync } = await import("node:sqlite");
  const other = new DatabaseSync(join(relay.folder, "nexus.sqlite"));
  other.exec("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE");
  const [one, who] = [await client(relay), author()];
  one.send(["EVENT", who.sign({ content: "waits" })]);
  one.send("ping");
  assert.equal(await one.next(), "pong");
  return { relay, one, other };
}

test("an event waits for a locked file for 15 s in all, and may be stored all the same", async () => {
  const relay = await open();
  const { DatabaseSync } = await import("node:sqlite");
  const [one, who] = [await client(relay), author()];
  assert.equal((await publish(one, who.sign({ content: "before" })))[2], true);
  const other = new DatabaseSync(join(relay.folder, "nexus.sqlite"));
  other.exec("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE");
  const event = who.sign({ content: "waits" });
  const from = Date.now();
  const [, , accepted, reason] = await publish(one, event, 30_000);
  const waited = Date.now() - from;
  assert.equal(accepted, false);
  assert.equal(reason, "error: the event could not be stored: the relay's database is overloaded; publish it again");
  assert.ok(waited > 14_000 && waited < 16_500, `${waited} ms`);
  other.exec("ROLLBACK");
  other.close();
  // The attempt that was on its way lands.
  for (let tries = 0; tries < 40 && (await stored(relay, { kinds: [1] })).length < 2; tries++) await sleep(100);
  assert.equal((await publish(one, event))[3], "duplicate: already have this event");
  one.close();
  await relay.stop();
});

test("SIGTERM ends it, and tells everybody, though nothing can be stored", async () => {
  const { relay, one, other } = await stuck();
  relay.program.kill("SIGTERM");
  assert.deepEqual(await one.ended, { code: 1006, reason: "" });
  // The file stays locked, and queued statements wait for it for 10 s each.
  assert.deepEqual(await within(15_000, relay.over(), "end"), { code: 1, signal: null });
  assert.deepEqual(relay.lines.at(-1), { level: "warn", what: "ended before all was done", why: "the time to end is over" });
  other.close();
});

test("a second signal ends it at once", async () => {
  const { relay, other } = await stuck();
  for (let tries = 0; tries < 40 && relay.program.exitCode === null; tries++) {
    relay.program.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(await relay.over(), { code: 1, signal: null });
  assert.equal(relay.lines.at(-1).why, "a second signal");
  other.close();
});

test("it serves on when nobody reads its log any more", async () => {
  const relay = await open({ vars: { LOG_LEVEL: "debug" } });
  relay.program.stderr.destroy();
  const who = author();
  for (let n = 0; n < 3; n++) {
    const one = await client(relay);
    assert.equal((await publish(one, who.sign({ content: `${n}` })))[2], true);
    one.close();
  }
  await relay.stop();
});

test("SIGHUP reads limits and lists again; mistakes change nothing", async (t) => {
  const config = join(folder(t), "nexus.toml");
  const write = (filters) => writeFileSync(config, `[limits]\nmax_filters = ${filters}\n`);
  write(2);
  const relay = await open({ config });
  const [one, document] = [await client(relay), async () => (await fetch(relay.http, { headers: { Accept: "application/nostr+json" } })).json()];
  const ask = async () => {
    one.send(["REQ", "three", {}, {}, {}]);
    return (await one.next())[0];
  };
  assert.equal(await ask(), "CLOSED");
  write(3);
  await reload(relay, "settings were read again");
  assert.equal(await ask(), "EOSE");
  assert.equal((await document()).limitation.max_filters, 3);
  write("-1");
  await reload(relay, "settings stay as they are");
  assert.equal(await ask(), "EOSE");
  one.close();
  await relay.stop();
});

test("whoever pings gets a pong", async () => {
  const relay = await open();
  const one = await client(relay);
  one.send("ping");
  assert.equal(await one.next(), "pong");
  one.close();
  await relay.stop();
});

test("an agent that gives no sign is asked: who answers stays, who does not is gone", async () => {
  const relay = await open({ vars: { SILENCE_SECONDS: 1 } });
  const there = await client(relay);
  const gone = await client(relay, { autoPong: false });
  const asked = (one) => within(10_000, new Promise((resolve) => one.socket.once("ping", resolve)), "ping");
  await Promise.all([asked(there), asked(gone)]);
  await within(10_000, gone.ended, "end of who does not answer");
  // It has answered once by then, and is asked again.
  await asked(there);
  assert.equal(there.closed, undefined);
  await reports(relay, ({ connections }) => connections.open, 1);
  there.close();
  await relay.stop();
});

test("SILENCE_SECONDS must be a number that makes sense", () => {
  for (const wrong of ["0", "3601", "soon"]) {
    const { code, err } = nexus(["config", "check"], { env: { SILENCE_SECONDS: wrong } });
    assert.equal(code, 1);
    assert.match(err, new RegExp(`SILENCE_SECONDS \\(environment\\) must be a whole number from 1 to 3600, not "${wrong}"`));
  }
});
