// What `npm run deploy` and `npm start` decide before they touch anything: the operator's file, the flags, what is
// deployed, the tables that are there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { OVERRIDE, database, keep, merge, readConfig } from "../../scripts/config.mjs";
import { PLANS, ceiling, deployed, question } from "../../scripts/deploy.mjs";
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
