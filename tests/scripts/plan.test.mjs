// What a deploy shows before it acts, what it says where it fails, and whose relay it is about: the first one, or one beside it.
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { OVERRIDE, readConfig } from "../../scripts/config.mjs";
import { routes, unrouted } from "../../scripts/plan.mjs";
import { setKey } from "../../scripts/toml.mjs";
import { account } from "../support/account.mjs";
import { deploys, folder, own } from "../support/deploying.mjs";

const URL = ["--url", "wss://relay.example.com"];
const FIRST = [...URL, "--plan", "free"];
const DOMAIN = '[[routes]]\npattern = "relay.example.com"\ncustom_domain = true\n';

test("a deploy shows what it is going to do, and does it when it is told to", async (t) => {
  const path = folder(t, DOMAIN);
  const asked = [["Where are most of its clients?", "weur"], ["Which plan", "free"]];
  const no = deploys(path, [...URL, "--partitions", "2"], { answers: [...asked, ["Is it to be done?", ""]] });
  assert.equal(no.status, 1);
  assert.match(no.stderr, /nothing was deployed/);
  assert.deepEqual([no.changed, own(path), account(path).all()], [[], DOMAIN, []]);
  const plan = `
  Worker    nexus-relay
  Account   Mine (a1)
  Address   wss://relay.example.com
  Domains   relay.example.com (custom domain)
  Database  nexus-relay
  Database  nexus-relay-1
  Is in     weur
  At most   100000 rows a day
  Yours     wrangler.override.toml

  1. make the D1 database nexus-relay in weur
  2. make the D1 database nexus-relay-1 in weur
  3. keep in wrangler.override.toml: RELAY_URL = wss://relay.example.com, PARTITIONS = 2, LOCATION = weur, ROWS_PER_DAY = 100000, MAX_DATABASE_BYTES = 450000000, the id of nexus-relay, the id of nexus-relay-1
  4. make the tables of nexus-relay
  5. make the tables of nexus-relay-1
  6. make the Worker nexus-relay
`;
  assert.ok(no.stdout.includes(plan), no.stdout);
  const yes = deploys(path, [...URL, "--partitions", "2"], { answers: [...asked, ["Is it to be done?", "y"]] });
  assert.equal(yes.status, 0, yes.stderr);
  const changes = ["d1 create nexus-relay --location weur", "d1 create nexus-relay-1 --location weur", "d1 migrations apply DB --remote", "d1 migrations apply DB_1 --remote", "deploy"];
  assert.deepEqual(yes.changed, changes);
  assert.match(yes.stdout, /Deployed\.\n\n {2}Relay {3}wss:\/\/relay\.example\.com\n {2}HUD {5}https:\/\/relay\.example\.com\n {2}Health {2}https:\/\/relay\.example\.com\/health\n {2}Domains relay\.example\.com \(custom domain\)\n/);
  // Later there is one thing to do, and nothing is asked where --yes is said.
  const later = deploys(path, ["--yes"], { answers: [] });
  assert.equal(later.status, 0, later.stderr);
  assert.deepEqual(later.changed, ["deploy"]);
  assert.match(later.stdout, /\n {2}1\. put the new version over the Worker nexus-relay\n/);
});

test("where it fails it says how far it came, and goes on from there", (t) => {
  const path = folder(t);
  const failed = deploys(path, [...FIRST, "--partitions", "2"], { failing: "d1 migrations apply DB_1" });
  assert.equal(failed.status, 1);
  const told = `
  How far it came:
    done      make the D1 database nexus-relay, near you
    done      make the D1 database nexus-relay-1, near you
    done      keep in wrangler.override.toml: RELAY_URL = wss://relay.example.com, PARTITIONS = 2, ROWS_PER_DAY = 100000, MAX_DATABASE_BYTES = 450000000, the id of nexus-relay, the id of nexus-relay-1
    done      make the tables of nexus-relay
    failed    make the tables of nexus-relay-1
    not done  make the Worker nexus-relay
  What is done stays. When the cause is mended, this goes on from there: npm run deploy
`;
  assert.ok(failed.stderr.includes(told), failed.stderr);
  const again = deploys(path, []);
  assert.equal(again.status, 0, again.stderr);
  assert.deepEqual(again.changed, ["d1 migrations apply DB_1 --remote", "deploy"]);
  assert.doesNotMatch(again.stderr, /How far/);
});

test("a Worker that was not deployed is deployed by the next try", (t) => {
  const path = folder(t);
  const failed = deploys(path, FIRST, { failing: "deploy --config" });
  assert.equal(failed.status, 1);
  assert.match(failed.stderr, /done {6}make the tables of nexus-relay\n {4}failed {4}make the Worker nexus-relay\n/);
  const again = deploys(path, []);
  assert.deepEqual([again.status, again.changed, account(path).workers()], [0, ["deploy"], { "nexus-relay": "wss://relay.example.com" }]);
});

test("--env is a relay of its own, with nothing of the first one", async (t) => {
  const path = folder(t);
  assert.equal(deploys(path, FIRST).status, 0);
  const before = own(path);
  const second = deploys(path, ["--env", "test", "--url", "wss://test.example.com", "--plan", "paid"]);
  assert.equal(second.status, 0, second.stderr);
  assert.deepEqual(second.changed, ["d1 create nexus-relay-test", "d1 migrations apply DB --remote", "deploy"]);
  assert.equal(own(path), before);
  const all = account(path);
  assert.deepEqual(all.workers(), { "nexus-relay": "wss://relay.example.com", "nexus-relay-test": "wss://test.example.com" });
  const [first, other] = [await readConfig({ folder: path }), await readConfig({ folder: path, env: "test" })];
  assert.deepEqual([first, other].map(({ name, vars }) => [name, vars.RELAY_URL, vars.ROWS_PER_DAY]), [
    ["nexus-relay", "wss://relay.example.com", "100000"],
    ["nexus-relay-test", "wss://test.example.com", "1600000"],
  ]);
  assert.deepEqual([first, other].map((one) => one.d1_databases[0].database_id), all.all().map(({ uuid }) => uuid));
  const failed = deploys(path, ["--env", "test"], { failing: "deploy --config" });
  assert.match(failed.stderr, /this goes on from there: npm run deploy -- --env test\n/);
  assert.deepEqual(deploys(path, ["--env", "test"]).changed, ["deploy"]);
  // What was made nowhere is told apart on this machine, too.
  const ids = await Promise.all([undefined, "a", "b"].map(async (env) => (await readConfig({ folder: folder(t), env })).d1_databases[0].database_id));
  assert.equal(new Set(ids).size, 3);
});

test("--name is the Worker's, and of the database that the first deploy makes", async (t) => {
  const path = folder(t, `# mine\n${DOMAIN}`);
  assert.deepEqual(deploys(path, [...FIRST, "--name", "market"]).changed, ["d1 create market", "d1 migrations apply DB --remote", "deploy"]);
  assert.match(own(path), /^# mine\nname = "market"\n\[\[routes\]\]/);
  const other = deploys(path, ["--name", "bazaar"]);
  assert.deepEqual([other.status, other.changed], [0, ["deploy"]], other.stderr);
  assert.deepEqual(Object.keys(account(path).workers()), ["market", "bazaar"]);
  const { name, d1_databases: [db] } = await readConfig({ folder: path });
  assert.deepEqual([name, db.database_name], ["bazaar", "market"], "a database keeps its name");
});

test("a database that has events and is not in the operator's file is not used unasked", async (t) => {
  const path = folder(t);
  assert.equal(deploys(path, FIRST).status, 0);
  account(path).within("DB", (db) => db.exec("UPDATE totals SET version = 1"));
  writeFileSync(join(path, OVERRIDE), "");
  const doubtful = deploys(path, FIRST);
  assert.deepEqual([doubtful.status, doubtful.changed, own(path)], [1, [], ""]);
  assert.match(doubtful.stderr, /use the D1 database nexus-relay, which the account has and wrangler\.override\.toml does not name: it has the events of a relay\n {2}Nobody is here to answer: npm run deploy -- --yes/);
  const taken = deploys(path, [...FIRST, "--yes"]);
  assert.deepEqual([taken.status, taken.changed], [0, ["deploy"]]);
  assert.match(own(path), /database_id/);
});

test("a jurisdiction is settled by the first deploy: databases are made in it, and it is kept", async (t) => {
  const path = folder(t);
  const first = deploys(path, [...FIRST, "--jurisdiction", "eu", "--partitions", "2"]);
  assert.equal(first.status, 0, first.stderr);
  assert.deepEqual(first.changed.slice(0, 2), ["d1 create nexus-relay --jurisdiction eu", "d1 create nexus-relay-1 --jurisdiction eu"]);
  assert.match(first.stdout, /Stays in {2}the jurisdiction eu\n[^]*make the D1 database nexus-relay, which stays in the jurisdiction eu\n/);
  assert.match(own(path), /JURISDICTION = "eu"/);
  assert.equal(deploys(path, ["--jurisdiction", "eu"]).status, 0);
  const before = own(path);
  const moved = deploys(path, ["--jurisdiction", "us"]);
  assert.deepEqual([moved.status, moved.changed, own(path)], [1, [], before]);
  assert.match(moved.stderr, /the relay was deployed in the jurisdiction eu, and what it has cannot be moved; nothing was deployed\./);
  // Nor by hand.
  writeFileSync(join(path, OVERRIDE), before.replace('"eu"', '"us"'));
  const other = deploys(path, []);
  assert.deepEqual([other.status, other.changed], [1, []]);
  assert.match(other.stderr, /the D1 database nexus-relay is in the jurisdiction eu, and the relay is to be in us\. A database cannot be moved\. Nothing was changed\./);
  writeFileSync(join(path, OVERRIDE), before.replace("\n[vars]", '\n[vars]\nLOCATION = "weur"'));
  assert.match(deploys(path, []).stderr, /LOCATION and PLACES must be empty then; nothing was deployed/);
});

test("a relay without a jurisdiction does not come into one, and a database found in one is not taken for another", async (t) => {
  const path = folder(t);
  assert.equal(deploys(path, FIRST).status, 0);
  const late = deploys(path, ["--jurisdiction", "fedramp"]);
  assert.deepEqual([late.status, late.changed], [1, []]);
  assert.match(late.stderr, /was deployed in no jurisdiction.*\n {2}A second relay can be in another one: --env NAME --jurisdiction fedramp\n/);
  const lost = folder(t);
  assert.equal(deploys(lost, [...FIRST, "--jurisdiction", "eu"], { failing: "d1 migrations" }).status, 1);
  writeFileSync(join(lost, OVERRIDE), "");
  const found = deploys(lost, FIRST);
  assert.deepEqual([found.status, found.changed], [1, []]);
  assert.match(found.stderr, /As it is: npm run deploy -- --jurisdiction eu\./);
});

test("who has several accounts says which one, before anything else", (t) => {
  const path = folder(t);
  const accounts = [{ id: "a1", name: "Mine" }, { id: "b2", name: "Ours" }];
  const which = deploys(path, FIRST, { accounts });
  assert.deepEqual([which.status, which.asked, existsSync(join(path, OVERRIDE))], [1, ["whoami --json"], false]);
  assert.match(which.stderr, /account_id = "a1" {5}# Mine\n {4}account_id = "b2" {5}# Ours\n/);
  writeFileSync(join(path, OVERRIDE), 'account_id = "b2"\n');
  const said = deploys(path, FIRST, { accounts });
  assert.equal(said.status, 0, said.stderr);
  assert.match(said.stdout, /Account {3}Ours \(b2\)\n/);
});

test("an address that nothing leads to the Worker is named", () => {
  const config = (url, more = {}) => ({ vars: { RELAY_URL: url }, ...more });
  const custom = { routes: [{ pattern: "relay.example.com", custom_domain: true }, "*.example.org/*"] };
  assert.deepEqual(routes(custom), [{ pattern: "relay.example.com", custom: true }, { pattern: "*.example.org/*", custom: false }]);
  assert.deepEqual(routes({ route: "a.example/*" }), [{ pattern: "a.example/*", custom: false }]);
  for (const [one, wrong] of [
    [config("wss://nexus-relay.me.workers.dev"), null],
    [config("wss://relay.example.com wss://a.example.org/", custom), null],
    [config("wss://relay.example.com"), /leads relay\.example\.com to the Worker.*\n.*\[\[routes\]\]\n {6}pattern = "relay\.example\.com"\n {6}custom_domain = true$/],
    [config("wss://other.example.com", custom), /leads other\.example\.com/],
    [config("wss://nexus-relay.me.workers.dev", custom), /workers_dev = true in wrangler\.override\.toml/],
    [config("wss://nexus-relay.me.workers.dev", { ...custom, workers_dev: true }), null],
  ]) {
    const told = unrouted(one, OVERRIDE);
    if (wrong === null) assert.deepEqual(told, []);
    else assert.match(told.join("\n"), wrong);
  }
});

test("a key of no table is set before all tables, and once", () => {
  for (const [before, after] of [
    ["", 'name = "b"\n'],
    ["# mine\n", '# mine\nname = "b"\n'],
    ['# mine\n\naccount_id = "x"\nname = "a" # old\n[vars]\nname = "c"\n', '# mine\n\naccount_id = "x"\nname = "b"\n[vars]\nname = "c"\n'],
    ['[vars]\nname = "c"\n', 'name = "b"\n[vars]\nname = "c"\n'],
  ]) {
    assert.equal(setKey(before, [], "name", "b"), after);
  }
});
