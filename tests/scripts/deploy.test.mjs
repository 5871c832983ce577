// What `npm run deploy` and `npm start` decide before they touch anything: the operator's file, the flags, what is
// deployed, the tables that are there.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { MERGED, OVERRIDE, database, databases, isMade, keep, merge, readConfig } from "../../scripts/config.mjs";
import { bookmark } from "../../scripts/databases.mjs";
import { deployed, doubt } from "../../scripts/deploy.mjs";
import { PLANS, ceiling, location } from "../../scripts/first.mjs";
import { ROOT, bin } from "../../scripts/run.mjs";
import { migrations } from "../../scripts/schema.mjs";
import { account } from "../support/account.mjs";
import { deploys, folder, own } from "../support/deploying.mjs";

const ID = "11111111-2222-3333-4444-555555555555";

const read = (...args) => spawnSync(...args, { encoding: "utf8", env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" } });
const npm = (...args) => read("npm", ["run", ...args]);

test("the operator's file goes over the project's, key by key", async (t) => {
  const config = await readConfig({ folder: folder(t, `name = "mine"\n[[d1_databases]]\nbinding = "DB"\ndatabase_id = "${ID}"\n[vars]\nMAX_LIMIT = "7"\n`) });
  assert.equal(config.name, "mine");
  assert.deepEqual([config.vars.MAX_LIMIT, config.vars.RELAY_NAME], ["7", "Nexus"]);
  assert.deepEqual(config.d1_databases, [{ binding: "DB", database_name: "nexus-relay", database_id: ID, migrations_dir: join(ROOT, "migrations") }]);
  assert.deepEqual(merge({ routes: ["a"], kv: [{ binding: "A" }] }, { routes: ["b"], kv: [{ binding: "B" }] }), { routes: ["b"], kv: [{ binding: "A" }, { binding: "B" }] });
});

test("the address and the database's id are kept in the operator's file, and nothing of his is lost", async (t) => {
  const owns = [
    undefined,
    "",
    '# mine\nname = "mine" # a comment\n\n[vars] # settings\nMAX_LIMIT = "7"\nRELAY_URL = "wss://old.example"\n\n[placement]\nmode = "smart"\n',
    '[[d1_databases]]\nbinding = "DB"\ndatabase_name = "second"\n\n[[routes]]\npattern = "relay.example.com"\ncustom_domain = true\n',
  ];
  for (const own of owns) {
    const path = folder(t, own);
    await keep({ vars: { RELAY_URL: "wss://relay.example.com" }, databases: [{ binding: "DB", database_id: ID }] }, { folder: path });
    await keep({ vars: { RELAY_URL: "wss://new.example.com" } }, { folder: path });
    const config = await readConfig({ folder: path });
    assert.deepEqual([config.vars.RELAY_URL, database(config).database_id], ["wss://new.example.com", ID]);
    const text = readFileSync(join(path, OVERRIDE), "utf8");
    for (const line of (own ?? "").split("\n").filter((line) => !line.startsWith("RELAY_URL"))) assert.ok(text.includes(line), line);
    assert.deepEqual(readdirSync(path), [OVERRIDE]);
  }
});

test("each partition has a database, called as the first one with its number", async (t) => {
  const names = async (own) => databases(await readConfig({ folder: folder(t, own) })).map(({ binding, database_name: name }) => [binding, name]);
  assert.deepEqual(await names(undefined), [["DB", "nexus-relay"]]);
  assert.deepEqual(await names('[vars]\nPARTITIONS = ""\n'), [["DB", "nexus-relay"]]);
  const three = [["DB", "nexus-relay"], ["DB_1", "nexus-relay-1"], ["DB_2", "nexus-relay-2"]];
  assert.deepEqual(await names('[vars]\nPARTITIONS = "3"\n'), three);
  assert.deepEqual(await names("[vars]\nPARTITIONS = 3\n"), three);
  const own = `[[d1_databases]]\nbinding = "DB"\ndatabase_name = "mine"\n\n[[d1_databases]]\nbinding = "DB_1"\ndatabase_id = "${ID}"\n\n[vars]\nPARTITIONS = "3"\n`;
  assert.deepEqual(await names(own), [["DB", "mine"], ["DB_1", "mine-1"], ["DB_2", "mine-2"]]);
  const all = databases(await readConfig({ folder: folder(t, own) }));
  assert.deepEqual(all.map(isMade), [false, true, false]);
  // Where nothing was made each has an id of its own: local ones are told apart by it.
  assert.equal(new Set(all.map((one) => one.database_id)).size, 3);
  assert.ok(all.every((one) => one.migrations_dir === join(ROOT, "migrations")));
});

/** Deploys a folder with settings; see `deploys`. Of what it changed the Worker itself is left out. */
function prepared(path, { RELAY_URL: url = "wss://relay.example.com", ...vars }, failing = "") {
  const options = { PARTITIONS: "--partitions", LOCATION: "--location" };
  const more = Object.entries(vars).flatMap(([key, value]) => [options[key], value]);
  const done = deploys(path, ["--url", url, "--plan", "free", ...more], { failing });
  return { ...done, changed: done.changed.filter((command) => command !== "deploy") };
}

/** What a folder's partitions are by their databases' own word, and how many files of ours they have. */
async function places(path) {
  const { within } = account(path);
  const word = (db) => ({ ...db.prepare("SELECT (SELECT count(*) FROM d1_migrations) AS had, (SELECT own || ' of ' || count FROM partitions) AS place").get() });
  return databases(await readConfig({ folder: path })).map(({ binding }) => within(binding, word));
}

/** What a relay writes into its databases when it has its first event. */
async function store(path, count) {
  const { within } = account(path);
  for (const [own, { binding }] of databases(await readConfig({ folder: path })).entries()) {
    const place = count > 1 ? `INSERT INTO partitions (version, since, count, own) VALUES (1, 0, ${count}, ${own})` : "";
    within(binding, (db) => db.exec(`UPDATE totals SET version = 1; ${place}`));
  }
}

const applied = (...bindings) => bindings.map((binding) => `d1 migrations apply ${binding} --remote`);

test("databases are made where --location says, and it is kept", (t) => {
  const path = folder(t, "");
  const { status, changed, stderr } = prepared(path, { LOCATION: "weur", PARTITIONS: "2", RELAY_URL: "wss://relay.example.com" });
  assert.equal(status, 0, stderr);
  assert.deepEqual(changed, ["d1 create nexus-relay --location weur", "d1 create nexus-relay-1 --location weur", ...applied("DB", "DB_1")]);
  assert.match(own(path), /LOCATION = "weur"/);
});

test("the first deploy makes the databases of all partitions, keeps and migrates them; later ones find their number", async (t) => {
  const path = folder(t, '# mine\n[vars]\nMAX_LIMIT = "7"\n');
  const first = prepared(path, { PARTITIONS: "3", RELAY_URL: "wss://relay.example.com" });
  assert.equal(first.status, 0, first.stderr);
  for (const name of ["nexus-relay", "nexus-relay-1", "nexus-relay-2"]) assert.match(first.stdout, new RegExp(`Database  ${name}\n(.*\n)*.*make the D1 database ${name}, near you\n`));
  assert.deepEqual(first.changed, ["d1 create nexus-relay", "d1 create nexus-relay-1", "d1 create nexus-relay-2", ...applied("DB", "DB_1", "DB_2")]);
  const { vars, d1_databases: kept } = await readConfig({ folder: path });
  assert.deepEqual([vars.PARTITIONS, vars.RELAY_URL, vars.MAX_LIMIT], ["3", "wss://relay.example.com", "7"]);
  assert.deepEqual(kept.map((one) => one.database_id), account(path).all().map(({ uuid }) => uuid));
  assert.match(own(path), /^# mine\n/);
  assert.deepEqual(await places(path), Array(3).fill({ had: migrations().length, place: null }));
  await store(path, 3);
  const before = own(path);
  for (const vars of [{}, { PARTITIONS: "3" }]) {
    const later = prepared(path, vars);
    assert.equal(later.status, 0, later.stderr);
    assert.deepEqual(later.changed, [], "nothing is missing in them");
    assert.equal(own(path), before);
  }
});

test("a relay that has events keeps its number of partitions: another one is refused, and nothing is changed", async (t) => {
  const several = folder(t, '[vars]\nPARTITIONS = "2"\n');
  const one = folder(t);
  for (const [path, count] of [[several, 2], [one, 1]]) {
    assert.equal(prepared(path, {}).status, 0);
    await store(path, count);
    const before = existsSync(join(path, OVERRIDE)) && own(path);
    for (const wanted of [1, 2, 3].filter((wanted) => wanted !== count)) {
      const { status, stderr, changed } = prepared(path, { PARTITIONS: `${wanted}` });
      assert.equal(status, 1);
      const is = `${count} partition${count > 1 ? "s" : ""}`;
      assert.match(stderr, new RegExp(`the D1 database nexus-relay has events of a relay with ${is}, and is to be used with ${wanted}\\. The number of partitions of a relay that has events cannot be changed yet: .* Nothing was changed\\.\n  As it is: npm run deploy -- --partitions ${count}\n`));
      assert.deepEqual(changed, []);
      assert.equal(own(path), before);
    }
  }
  // Nor by hand, nor with each other's databases.
  writeFileSync(join(several, OVERRIDE), own(several).replace('PARTITIONS = "2"', 'PARTITIONS = "4"'));
  assert.match(prepared(several, {}).stderr, /has events of a relay with 2 partitions, and is to be used with 4/);
  const swapped = own(several).replace('PARTITIONS = "4"', 'PARTITIONS = "2"').replace(/"DB(_1)?"/g, (_, other) => (other ? '"DB"' : '"DB_1"'));
  writeFileSync(join(several, OVERRIDE), swapped);
  const { status, stderr, changed } = prepared(several, {});
  assert.deepEqual([status, changed], [1, []]);
  assert.match(stderr, /has partition 1 of the relay, and is bound as partition 0 \(DB\)\. Nothing was changed\./);
});

test("a relay without events may have another number of partitions", async (t) => {
  const path = folder(t);
  assert.equal(prepared(path, {}).status, 0);
  const { status, changed } = prepared(path, { PARTITIONS: "2" });
  assert.deepEqual([status, changed], [0, ["d1 create nexus-relay-1", ...applied("DB_1")]]);
});

test("a deploy that failed halfway is repeated", async (t) => {
  for (const [failing, first, again] of [
    ["d1 create nexus-relay-1", ["d1 create nexus-relay", "d1 create nexus-relay-1"], ["d1 create nexus-relay-1", "d1 create nexus-relay-2", ...applied("DB", "DB_1", "DB_2")]],
    ["d1 migrations apply DB_1", ["d1 create nexus-relay", "d1 create nexus-relay-1", "d1 create nexus-relay-2", ...applied("DB", "DB_1")], applied("DB_1", "DB_2")],
    ["d1 list", [], ["d1 create nexus-relay", "d1 create nexus-relay-1", "d1 create nexus-relay-2", ...applied("DB", "DB_1", "DB_2")]],
  ]) {
    const path = folder(t, "");
    const failed = prepared(path, { PARTITIONS: "3" }, failing);
    assert.equal(failed.status, 1);
    assert.match(failed.stderr, /the network failed/);
    assert.deepEqual(failed.changed, first);
    const repeated = prepared(path, { PARTITIONS: "3" });
    assert.equal(repeated.status, 0, repeated.stderr);
    assert.deepEqual(repeated.changed, again);
    assert.equal(account(path).all().length, 3);
    assert.deepEqual(await places(path), await places(path));
    assert.equal((await readConfig({ folder: path })).vars.PARTITIONS, "3");
  }
});

test("before migrations change databases the bookmarks of all are told, and without one of them nothing is changed", async (t) => {
  const path = folder(t);
  assert.equal(prepared(path, { PARTITIONS: "2" }, "d1 migrations").status, 1);
  // Both have had the first alone.
  const [first, ...rest] = migrations();
  const older = `${readFileSync(`migrations/${first}`, "utf8")}; CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO d1_migrations (name) VALUES ('${first}')`;
  for (const binding of ["DB", "DB_1"]) account(path).within(binding, (db) => db.exec(older));
  const lost = prepared(path, {}, "d1 time-travel info DB_1");
  assert.deepEqual([lost.status, lost.changed], [1, []]);
  assert.ok(lost.stderr.includes(`the bookmark of the D1 database nexus-relay-1, to go back to should ${rest.join(", ")} go wrong, could not be read: the network failed\n  Nothing was changed.`), lost.stderr);
  const back = (binding) => `npx wrangler d1 time-travel restore ${binding} --bookmark=mark-of-${binding} --config .wrangler.merged.json`;
  const failed = prepared(path, {}, "d1 migrations apply DB_1");
  assert.equal(failed.status, 1);
  for (const text of [failed.stdout, failed.stderr]) assert.ok(text.includes(`:\n    ${back("DB")}\n    ${back("DB_1")}\n`), text);
  // The first has had it by now.
  const repeated = prepared(path, {});
  assert.equal(repeated.status, 0, repeated.stderr);
  assert.ok(repeated.stdout.includes(`what brings the database back to now, without all that is stored from now on:\n    ${back("DB_1")}\n`), repeated.stdout);
});

test("a relay whose databases are its objects' own has no D1 made; one that has a D1 does not lose it unasked", async (t) => {
  const path = folder(t, '[vars]\nSTORE = "object"\nPARTITIONS = "2"\n');
  const first = prepared(path, { RELAY_URL: "wss://relay.example.com" });
  assert.equal(first.status, 0, first.stderr);
  assert.deepEqual([first.changed, account(path).all()], [[], []]);
  assert.deepEqual((await readConfig({ folder: path })).d1_databases, []);
  const fresh = folder(t, '[vars]\nSTORE = "object"\n');
  assert.deepEqual(await ceiling(undefined, await readConfig({ folder: fresh }), async () => "free"), PLANS.free);
  const other = folder(t);
  assert.equal(prepared(other, {}).status, 0);
  const before = own(other).replace("\n[vars]", '\n[vars]\nSTORE = "object"');
  writeFileSync(join(other, OVERRIDE), before);
  const refused = prepared(other, {});
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /STORE is "object", and wrangler\.override\.toml names the D1 database nexus-relay: .* Nothing was changed/);
  assert.deepEqual([refused.changed, own(other)], [[], before]);
});

test("git ignores what is the operator's", () => {
  const files = [OVERRIDE, "wrangler.override.test.toml", ".wrangler.merged.json", ".wrangler.merged.test.json", "dist/nexus-relay-0.2.0.tgz", "nexus.toml", "nexus.sqlite", "nexus.sqlite-wal", "nexus.sqlite.lock"];
  const { stdout } = read("git", ["check-ignore", ...files]);
  assert.deepEqual(stdout.trim().split("\n"), files);
  const tracked = read("git", ["ls-files", "*.sqlite*", "nexus.toml", OVERRIDE]);
  assert.deepEqual([tracked.status, tracked.stdout], [0, ""]);
});

test("npm run deploy refuses what it does not know, before anything else", () => {
  const wrong = [["--env", "Staging!"], ["--name", "My Relay"], ["--jurisdiction", "moon"], ["--jurisdiction", "eu", "--location", "weur"], ["--dryrun"], ["staging"], ["--url"], ["--url", "http://relay.example.com"], ["--yes=no"], ["--plan", "cheap"], ["--partitions", "0"], ["--partitions", "65"], ["--partitions", "two"]];
  for (const args of wrong) {
    const { status, stdout, stderr } = npm("deploy", "--", ...args);
    assert.equal(status, 1, args.join(" "));
    assert.match(stderr, /--dry-run {3}build and check/, args.join(" "));
    assert.doesNotMatch(stdout, /▸/, args.join(" "));
  }
});

test("the first deploy asks for the plan and keeps its ceiling", async (t) => {
  const path = folder(t);
  const never = () => assert.fail("asked");
  assert.deepEqual(await ceiling(undefined, await readConfig({ folder: path }), async () => "Free"), PLANS.free);
  const limits = await ceiling("paid", await readConfig({ folder: path }), never);
  await keep({ vars: limits, databases: [{ binding: "DB", database_id: ID }] }, { folder: path });
  const { vars } = await readConfig({ folder: path });
  assert.deepEqual([vars.ROWS_PER_DAY, vars.MAX_DATABASE_BYTES], ["1600000", "9500000000"]);
  assert.deepEqual(await ceiling(undefined, await readConfig({ folder: path }), never), {}, "what is deployed keeps what it has");
});

test("the first deploy asks where the databases are to be", async (t) => {
  const path = folder(t);
  const never = () => assert.fail("asked");
  const fresh = await readConfig({ folder: path });
  assert.deepEqual(await location(undefined, fresh, async () => "WEUR"), { LOCATION: "weur" });
  assert.deepEqual(await location(undefined, fresh, async () => ""), {}, "Cloudflare chooses");
  assert.deepEqual(await location("apac", fresh, never), { LOCATION: "apac" });
  await keep({ vars: {}, databases: [{ binding: "DB", database_id: ID }] }, { folder: path });
  assert.deepEqual(await location(undefined, await readConfig({ folder: path }), never), {}, "databases stay where they are");
});

/** An account with a Worker of these bindings, as wrangler 4 answers about it. */
const worker = (bindings) => (...args) => {
  if (args[0] === "deployments") {
    return { output: JSON.stringify({ id: "d", versions: [{ version_id: "small", percentage: 10 }, { version_id: "large", percentage: 90 }] }) };
  }
  assert.deepEqual(args.slice(0, 3), ["versions", "view", "large"]);
  return { output: JSON.stringify({ id: "large", resources: { bindings } }) };
};

test("a Worker with another address is not overwritten unasked", () => {
  const url = "wss://relay.example.com";
  const asked = (wrangler) => doubt(deployed(wrangler, "nexus-relay"), "nexus-relay", url);
  const relay = (text) => worker([{ name: "RELAY_NAME", type: "plain_text", text: "x" }, { name: "RELAY_URL", type: "plain_text", text }]);
  assert.equal(asked(relay(url)), null);
  assert.match(asked(relay("wss://other.example.com")), /serves wss:\/\/other\.example\.com\. It would be overwritten/);
  assert.match(asked(worker([])), /may not be a relay\. It would be overwritten/);
  const failing = (failed) => () => ({ failed });
  assert.equal(asked(failing("✘ [ERROR] A request failed.\n  This Worker does not exist on your account. [code: 10007]")), null);
  assert.match(asked(failing("fetch failed\nmore")), /could not be read \(fetch failed\): if it is there, it is overwritten/);
  assert.match(asked(() => ({ output: "{}" })), /could not be read/);
});

test("npm start refuses a D1 with other tables before it touches it", (t) => {
  const state = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(state, { recursive: true }));
  const wrangler = (...args) => read(bin("wrangler"), ["d1", ...args, "--local", "--persist-to", state]);
  const made = wrangler("execute", "DB", "--command", "CREATE TABLE events (seq INTEGER PRIMARY KEY, json TEXT); CREATE TABLE strangers (id)");
  assert.equal(made.status, 0, made.stderr);
  const tables = () => JSON.parse(wrangler("execute", "DB", "--json", "--command", "SELECT name FROM sqlite_master ORDER BY name").stdout)[0].results;
  const before = tables();
  const { status, stderr } = read("npm", ["start", "--", "--port", "0", "--persist-to", state]);
  assert.equal(status, 1);
  assert.match(stderr, /the D1 database nexus-relay has the tables of another version \(different: events; missing: .*jobs.*\)\. It was not touched\./);
  assert.deepEqual(tables(), before);
});

const MARK = "00000085-0000024c-00004c6d-8e61117bf38d7adb71b934ebbf891683";
const UPGRADE = { binding: "DB", name: "nexus-relay", had: ["0001_events.sql"], missing: ["0002_more.sql"] };

/** What wrangler asks of an account, answered as Cloudflare does: on a thread of its own, as wrangler is waited for. */
async function cloud(t) {
  const code = `
    const { parentPort } = require("node:worker_threads");
    const asked = [];
    const answer = (url) => {
      if (url.includes("/time_travel/bookmark")) return { bookmark: "${MARK}" };
      if (url.includes("/time_travel/restore")) return { bookmark: "${MARK}", previous_bookmark: "p", message: "" };
      return { uuid: "${ID}", name: "nexus-relay", version: "production" };
    };
    const server = require("node:http").createServer(({ method, url }, response) => {
      asked.push(method + " " + url.replace(/^.*\\/d1/, ""));
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ success: true, errors: [], messages: [], result: answer(url) }));
    });
    server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
    parentPort.on("message", () => parentPort.postMessage(asked.splice(0)));`;
  const thread = new Worker(code, { eval: true });
  t.after(() => thread.terminate());
  const [port] = await once(thread, "message");
  return {
    env: { CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`, CLOUDFLARE_API_TOKEN: "t", CLOUDFLARE_ACCOUNT_ID: "a" },
    asked: async () => (thread.postMessage("asked"), (await once(thread, "message"))[0]),
  };
}

test("before migrations change what a database has its bookmark is taken, and what is told brings it back", { timeout: 60_000 }, async (t) => {
  const path = folder(t, `[[d1_databases]]\nbinding = "DB"\ndatabase_id = "${ID}"\n`);
  writeFileSync(join(path, MERGED), JSON.stringify(await readConfig({ folder: path })));
  const { env, asked } = await cloud(t);
  const wrangler = (...args) => {
    const done = spawnSync(bin("wrangler"), args, { cwd: path, encoding: "utf8", env: { ...process.env, ...env, CI: "1", WRANGLER_SEND_METRICS: "false" } });
    return done.status === 0 ? { output: done.stdout } : { failed: done.stderr };
  };
  const { back, failed } = bookmark((...args) => wrangler(...args, "--config", MERGED), UPGRADE);
  assert.equal(back, `npx wrangler d1 time-travel restore DB --bookmark=${MARK} --config .wrangler.merged.json`, failed);
  assert.equal((await asked()).at(-1), `GET /database/${ID}/time_travel/bookmark?`);
  const { output, failed: why } = wrangler(...back.split(" ").slice(2));
  assert.ok(output, why);
  assert.equal((await asked()).at(-1), `POST /database/${ID}/time_travel/restore?bookmark=${MARK}`);
});

test("no bookmark is taken of what is not changed, and one that cannot be had is told", () => {
  const never = () => assert.fail("asked");
  for (const change of [{ had: [], missing: ["0001_events.sql"] }, { missing: [] }]) assert.deepEqual(bookmark(never, { ...UPGRADE, ...change }), {});
  assert.deepEqual(bookmark(() => ({ failed: "no network" }), UPGRADE), { failed: "no network" });
  for (const output of ["", "{}", '{"bookmark": "; rm"}']) assert.match(bookmark(() => ({ output }), UPGRADE).failed, /not understood/);
});

/** A port that is free. */
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

test("npm start makes a local D1 for each partition, and refuses one that is another", { timeout: 180_000 }, async (t) => {
  const state = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(state, { recursive: true }));
  const port = await freePort();
  const args = (partitions) => ["scripts/start.mjs", "--port", `${port}`, "--persist-to", state, "--var", `PARTITIONS:${partitions}`];
  const started = spawn(process.execPath, args(2), { env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" } });
  let said = "";
  started.stdout.setEncoding("utf8").on("data", (text) => (said += text));
  const ended = once(started, "exit");
  while (!said.includes("Nexus is running") && started.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 200));
  const health = await fetch(`http://127.0.0.1:${port}/health`).then((answer) => answer.json(), (error) => error);
  started.kill("SIGINT");
  await ended;
  assert.deepEqual(health, { status: "ok" }, said);
  const d1 = (binding, sql) => read(bin("wrangler"), ["d1", "execute", binding, "--local", "--persist-to", state, "--config", MERGED, "--json", "--command", sql]);
  for (const binding of ["DB", "DB_1"]) {
    const { stdout, stderr } = d1(binding, "UPDATE totals SET version = 1; SELECT count(*) AS had FROM d1_migrations");
    assert.equal(JSON.parse(stdout)[1].results[0].had, migrations().length, stderr);
  }
  const { status, stderr } = read(process.execPath, args(2));
  assert.equal(status, 1);
  assert.match(stderr, /the D1 database nexus-relay has events of a relay with 1 partition, and is to be used with 2\..*\n {2}Set PARTITIONS = "1" in wrangler\.override\.toml, or start with another folder/);
});

test("npm start refuses a D1 that a later version has migrated", (t) => {
  const state = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(state, { recursive: true }));
  const wrangler = (...args) => read(bin("wrangler"), ["d1", ...args, "--local", "--persist-to", state]);
  assert.equal(wrangler("migrations", "apply", "DB").status, 0);
  const more = "CREATE TABLE more (id); INSERT INTO d1_migrations (name) VALUES ('0099_more.sql')";
  assert.equal(wrangler("execute", "DB", "--command", more).status, 0);
  const { status, stderr } = read("npm", ["start", "--", "--port", "0", "--persist-to", state]);
  assert.equal(status, 1);
  assert.match(stderr, /a later version has migrated the D1 database nexus-relay \(0099_more\.sql\)\. It was not touched\./);
});
