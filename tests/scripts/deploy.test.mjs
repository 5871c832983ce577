// What `npm run deploy` and `npm start` decide before they touch anything: the operator's file, the flags, what is
// deployed, the tables that are there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { MERGED, OVERRIDE, database, keep, merge, readConfig } from "../../scripts/config.mjs";
import { PLANS, bookmark, ceiling, deployed, question } from "../../scripts/deploy.mjs";
import { bin } from "../../scripts/run.mjs";

const ID = "11111111-2222-3333-4444-555555555555";

/** A folder with the project's wrangler.toml, and this as the operator's file. */
function folder(t, own) {
  const path = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(path, { recursive: true }));
  cpSync("wrangler.toml", join(path, "wrangler.toml"));
  if (own !== undefined) writeFileSync(join(path, OVERRIDE), own);
  return path;
}

const read = (...args) => spawnSync(...args, { encoding: "utf8", env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" } });
const npm = (...args) => read("npm", ["run", ...args]);

test("the operator's file goes over the project's, key by key", async (t) => {
  const config = await readConfig(folder(t, `name = "mine"\n[[d1_databases]]\nbinding = "DB"\ndatabase_id = "${ID}"\n[vars]\nMAX_LIMIT = "7"\n`));
  assert.equal(config.name, "mine");
  assert.deepEqual([config.vars.MAX_LIMIT, config.vars.RELAY_NAME], ["7", "Nexus"]);
  assert.deepEqual(config.d1_databases, [{ binding: "DB", database_name: "nexus-relay", database_id: ID, migrations_dir: "migrations" }]);
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
    await keep({ vars: { RELAY_URL: "wss://relay.example.com" }, id: ID }, path);
    await keep({ vars: { RELAY_URL: "wss://new.example.com" } }, path);
    const config = await readConfig(path);
    assert.deepEqual([config.vars.RELAY_URL, database(config).database_id], ["wss://new.example.com", ID]);
    const text = readFileSync(join(path, OVERRIDE), "utf8");
    for (const line of (own ?? "").split("\n").filter((line) => !line.startsWith("RELAY_URL"))) assert.ok(text.includes(line), line);
    assert.equal(readFileSync(join(path, "wrangler.toml"), "utf8"), readFileSync("wrangler.toml", "utf8"));
  }
});

test("git ignores what is the operator's", () => {
  const files = [OVERRIDE, ".wrangler.merged.json", "nexus.toml", "nexus.sqlite", "nexus.sqlite-wal", "nexus.sqlite.lock"];
  const { stdout } = read("git", ["check-ignore", ...files]);
  assert.deepEqual(stdout.trim().split("\n"), files);
  const tracked = read("git", ["ls-files", "*.sqlite*", "nexus.toml", OVERRIDE]);
  assert.deepEqual([tracked.status, tracked.stdout], [0, ""]);
});

test("npm run deploy refuses what it does not know, before anything else", () => {
  const wrong = [["--env", "staging"], ["--dryrun"], ["staging"], ["--url"], ["--url", "http://relay.example.com"], ["--yes=no"], ["--plan", "cheap"]];
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
  assert.deepEqual(await ceiling(undefined, await readConfig(path), async () => "Free"), PLANS.free);
  const limits = await ceiling("paid", await readConfig(path), never);
  await keep({ vars: limits, id: ID }, path);
  const { vars } = await readConfig(path);
  assert.deepEqual([vars.ROWS_PER_DAY, vars.MAX_DATABASE_BYTES], ["1600000", "9500000000"]);
  assert.deepEqual(await ceiling(undefined, await readConfig(path), never), {}, "what is deployed keeps what it has");
});

/** An account with a Worker of these bindings, as wrangler 4 answers about it. */
const account = (bindings) => (...args) => {
  if (args[0] === "deployments") {
    return { output: JSON.stringify({ id: "d", versions: [{ version_id: "small", percentage: 10 }, { version_id: "large", percentage: 90 }] }) };
  }
  assert.deepEqual(args.slice(0, 3), ["versions", "view", "large"]);
  return { output: JSON.stringify({ id: "large", resources: { bindings } }) };
};

test("a Worker with another address is not overwritten unasked", () => {
  const url = "wss://relay.example.com";
  const asked = (wrangler) => question(deployed(wrangler, "nexus-relay"), "nexus-relay", url);
  const relay = (text) => account([{ name: "RELAY_NAME", type: "plain_text", text: "x" }, { name: "RELAY_URL", type: "plain_text", text }]);
  assert.equal(asked(relay(url)), null);
  assert.match(asked(relay("wss://other.example.com")), /serves wss:\/\/other\.example\.com\. Overwrite it/);
  assert.match(asked(account([])), /may not be a relay\. Overwrite it/);
  const failing = (failed) => () => ({ failed });
  assert.equal(asked(failing("✘ [ERROR] A request failed.\n  This Worker does not exist on your account. [code: 10007]")), null);
  assert.match(asked(failing("fetch failed\nmore")), /could not be read \(fetch failed\)\. Overwrite it, if it is there\?/);
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
const UPGRADE = { had: ["0001_events.sql"], missing: ["0002_more.sql"] };

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
  writeFileSync(join(path, MERGED), JSON.stringify(await readConfig(path)));
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
  for (const schema of [{ had: [], missing: ["0001_events.sql"] }, { had: ["0001_events.sql"], missing: [] }]) assert.deepEqual(bookmark(never, schema), {});
  assert.deepEqual(bookmark(() => ({ failed: "no network" }), UPGRADE), { failed: "no network" });
  for (const output of ["", "{}", '{"bookmark": "; rm"}']) assert.match(bookmark(() => ({ output }), UPGRADE).failed, /not understood/);
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
