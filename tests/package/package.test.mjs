// The package as who has no Rust gets it: installed into an empty folder, with Node's programs alone on the PATH, it serves a relay and
// deploys as far as that goes without an account; a newer one takes its place.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { pack } from "../../scripts/package.mjs";
import { ROOT } from "../../scripts/run.mjs";

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
const NEXT = "99.0.0";
const SLOW = { timeout: 300_000 };

/** Where everything of this test is; `home` has nobody who is logged in. */
const all = realpathSync(mkdtempSync(join(tmpdir(), "nexus-package-")));
const [programs, home, folder] = ["bin", "home", "relay"].map((name) => join(all, name));
const packages = {};
let env;

before(async () => {
  for (const path of [programs, home, folder]) mkdirSync(path);
  // What a machine has that has Node and nothing to build with.
  const node = dirname(process.execPath);
  const npm = spawnSync("sh", ["-c", "command -v npm"], { encoding: "utf8" }).stdout.trim();
  const found = (name) => spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
  for (const [name, path] of [["node", join(node, "node")], ["npm", npm], ["npx", join(dirname(npm), "npx")], ...["sh", "env"].map((name) => [name, found(name)])]) {
    symlinkSync(realpathSync(path), join(programs, name));
  }
  const inherited = Object.entries(process.env).filter(([name]) => !/^(npm_|CARGO|RUSTUP|CLOUDFLARE_|XDG_|NODE_OPTIONS|NODE_TEST|CC|AR)/.test(name));
  const cache = spawnSync("npm", ["config", "get", "cache"], { encoding: "utf8" }).stdout.trim();
  env = { ...Object.fromEntries(inherited), PATH: programs, HOME: home, npm_config_cache: cache, WRANGLER_SEND_METRICS: "false", CI: "1" };
  for (const name of ["registry", "cafile"]) {
    const value = spawnSync("npm", ["config", "get", name], { encoding: "utf8" }).stdout.trim();
    if (value !== "" && value !== "null" && value !== "undefined") env[`npm_config_${name}`] = value;
  }
  for (const one of [version, NEXT]) packages[one] = await pack({ version: one, to: all });
});
after(() => rmSync(all, { recursive: true, force: true }));

const run = (command, args, options = {}) => spawnSync(command, args, { cwd: folder, env, encoding: "utf8", maxBuffer: 1 << 26, ...options });
/** As it is typed. Where it is not installed the registry is not asked for it. */
const nexus = (...args) => {
  assert.ok(existsSync(join(folder, "node_modules/nexus-relay")), "it is not installed");
  return run("npx", ["nexus-relay", ...args]);
};
const install = (version) => run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", packages[version]]);

/** What the package's own folder has, with sizes: it is the same after it was used. */
function inPackage() {
  const own = join(folder, "node_modules/nexus-relay");
  return readdirSync(own, { recursive: true }).sort().map((file) => [file, statSync(join(own, file)).size]);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/** Serves the relay of the folder while `work` is done. */
async function served(port, work, ...more) {
  const child = spawn("npx", ["nexus-relay", "dev", "--port", `${port}`, "--inspector-port", "0", ...more], { cwd: folder, env, detached: true });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
  const ended = once(child, "exit");
  try {
    while (!said.includes("Stop       Ctrl-C")) {
      assert.equal(child.exitCode, null, said);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await work(said);
  } finally {
    process.kill(-child.pid, "SIGTERM"); // npx, the script, wrangler
    await ended;
  }
}

test("what is installed is whole, and nothing to build with is there", SLOW, () => {
  for (const tool of ["cargo", "rustc", "rustup", "clang", "cc", "llvm-ar", "git"]) assert.notEqual(run("sh", ["-c", `command -v ${tool}`]).status, 0, tool);
  const { status, stderr } = install(version);
  assert.equal(status, 0, stderr);
  const made = inPackage().map(([file]) => file);
  for (const file of ["build/index.js", "build/index_bg.wasm", "build/hud/index.html", "migrations/0001_events.sql", "wrangler.toml", "LICENSE", "README.md"]) {
    assert.ok(made.includes(file), file);
  }
  assert.ok(!made.some((file) => /setup|build\.mjs|test/.test(file)), `${made}`);
});

test("the README begins with what is done here", () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const commands = (heading) => new RegExp("^## " + heading + "$.*?^```sh\\n(.*?)^```", "ms").exec(readme)[1].trim().split("\n").map((line) => line.replace(/ +#.*/, ""));
  assert.deepEqual(commands("Run it in a minute"), [`npm install ./nexus-relay-${version}.tgz`, "npx nexus-relay dev", "npx nexus-relay job"]);
  assert.deepEqual(commands("Deploy to your own account"), ["npx nexus-relay wrangler login", "npx nexus-relay deploy --url wss://nexus-relay.YOUR-SUBDOMAIN.workers.dev"]);
  assert.ok(readme.indexOf("## Run it in a minute") < readme.indexOf("## Build it from source"));
});

test("alone, and with --help, it says what there is; what it does not know it says, too", SLOW, () => {
  for (const args of [[], ["--help"], ["help"]]) {
    const { status, stdout } = nexus(...args);
    assert.equal(status, 0);
    for (const command of ["dev", "deploy", "job", "wrangler"]) assert.match(stdout, new RegExp(`^  npx nexus-relay ${command} `, "m"));
  }
  assert.equal(nexus("--version").stdout.trim(), version);
  assert.match(nexus("deploy", "--help").stdout, /^npx nexus-relay deploy \[options\]\n[^]*--jurisdiction WHERE/);
  assert.match(nexus("dev", "--help").stdout, /^npx nexus-relay dev \[options\]\n[^]*--port N/);
  const unknown = nexus("depoly");
  assert.equal(unknown.status, 1);
  assert.match(unknown.stderr, /✗ there is no command depoly\n[^]*npx nexus-relay deploy/);
  assert.deepEqual(readdirSync(folder).sort(), ["node_modules", "package-lock.json", "package.json"]);
});

test("a Node that is too old is told so, in words that it knows", SLOW, () => {
  const command = join(folder, "node_modules/nexus-relay/scripts/nexus-relay.cjs");
  const old = `Object.defineProperty(process, "versions", { value: { node: "12.22.9" } }); Object.defineProperty(process, "version", { value: "v12.22.9" })`;
  writeFileSync(join(all, "old.cjs"), old);
  const { status, stderr } = run("node", ["--require", join(all, "old.cjs"), command, "dev"]);
  assert.deepEqual([status, stderr.trim()], [1, "✗ Node v12.22.9 is too old: install Node 22.13 or newer, from https://nodejs.org or your system's packages."]);
});

test("dev serves the relay without Rust, and a job goes through; what it keeps is in the folder", SLOW, async () => {
  const before = inPackage();
  const port = await freePort();
  writeFileSync(join(folder, "wrangler.override.toml"), '[vars]\nRELAY_NAME = "Mine"\nJURISDICTION = "eu"\n');
  await served(port, async (said) => {
    assert.match(said, new RegExp(`Try it {5}npx nexus-relay job ws://127\\.0\\.0\\.1:${port}`));
    const job = nexus("job", `ws://127.0.0.1:${port}`);
    assert.match(job.stdout, /buyer {3}: result "Somebody who passes it on\."/, job.stderr);
    const stats = await (await fetch(`http://127.0.0.1:${port}/api/stats`)).json();
    assert.deepEqual([stats.jobs.requested, stats.jobs.with_result], [1, 1]);
    const document = await (await fetch(`http://127.0.0.1:${port}/`, { headers: { Accept: "application/nostr+json" } })).json();
    assert.deepEqual([document.name, document.version], ["Mine", version]);
    const page = await fetch(`http://127.0.0.1:${port}/`, { headers: { Accept: "text/html" } });
    assert.match(await page.text(), /<title>/);
    // Another one does not take its place.
    const taken = nexus("dev", "--port", `${port}`);
    assert.equal(taken.status, 1);
    assert.match(taken.stderr, new RegExp(`✗ port ${port} at 127\\.0\\.0\\.1 is taken by another program.* Take another one: npx nexus-relay dev --port ${port + 1}`));
  });
  assert.deepEqual(inPackage(), before);
  assert.ok(existsSync(join(folder, ".wrangler/state")));
});

test("deploy --dry-run passes, and a real one says that nobody is logged in", SLOW, () => {
  const before = inPackage();
  const dry = nexus("deploy", "--dry-run", "--url", "wss://relay.example.com");
  assert.equal(dry.status, 0, dry.stdout + dry.stderr);
  assert.match(dry.stdout, /env\.NEXUS_RELAY/);
  assert.match(dry.stdout, /a dry run: nothing was deployed\. It would be\n\n {2}Worker {4}nexus-relay\n {2}Address {3}wss:\/\/relay\.example\.com\n/);
  assert.deepEqual(inPackage(), before);
  const real = nexus("deploy", "--url", "wss://relay.example.com", "--plan", "free");
  assert.equal(real.status, 1);
  assert.match(real.stderr, /✗ not logged in to Cloudflare\. Run: npx nexus-relay wrangler login/);
});

test("a job to nobody says so", SLOW, async () => {
  const { status, stderr } = nexus("job", `ws://127.0.0.1:${await freePort()}`);
  assert.equal(status, 1);
  assert.match(stderr, /✗ the job did not go through at ws:\/\/127\.0\.0\.1:\d+: .*\n {2}Is a relay there\? npx nexus-relay dev starts one/);
});

test("a newer package takes over what the older one kept on this machine, though it was deployed meanwhile", SLOW, async () => {
  const own = () => readFileSync(join(folder, "wrangler.override.toml"), "utf8");
  writeFileSync(join(folder, "wrangler.override.toml"), `${own()}\n[[d1_databases]]\nbinding = "DB"\ndatabase_id = "11111111-2222-3333-4444-555555555555"\n`);
  const before = own();
  const { status, stderr } = install(NEXT);
  assert.equal(status, 0, stderr);
  assert.equal(nexus("--version").stdout.trim(), NEXT);
  const ports = [await freePort(), await freePort()];
  const jobs = async (port) => (await (await fetch(`http://127.0.0.1:${port}/api/stats`)).json()).jobs.with_result;
  // And beside it there is another relay, which has nothing of it.
  await Promise.all([
    served(ports[0], async () => assert.equal(await jobs(ports[0]), 1, "the job of the older one")),
    served(ports[1], async () => assert.equal(await jobs(ports[1]), 0, "none of the first one's"), "--env", "test"),
  ]);
  assert.equal(own(), before);
});

test("npx deploys it to an account, and a newer one over it, by what is in the folder", SLOW, async (t) => {
  const cwd = join(all, "deployed");
  mkdirSync(cwd);
  writeFileSync(join(cwd, "wrangler.override.toml"), '[vars]\nRELAY_NAME = "Mine"\n\n[[routes]]\npattern = "relay.example.com"\ncustom_domain = true\n');
  const own = () => readFileSync(join(cwd, "wrangler.override.toml"), "utf8");
  const cloud = spawn(process.execPath, [join(ROOT, "tests/support/cloudflare.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => cloud.kill());
  const [first] = await once(cloud.stdout.setEncoding("utf8"), "data");
  cloud.stdout.resume();
  const api = `http://127.0.0.1:${Number.parseInt(first)}/client/v4`;
  const told = async () => (await (await fetch(`${api}/told`)).json()).result;
  const account = { CLOUDFLARE_API_BASE_URL: api, CLOUDFLARE_API_TOKEN: "t" };
  // As `npx nexus-relay@X.Y.Z deploy` does it: out of npm's own folder, with this one as the operator's. It is waited for while the
  // account answers from a process of its own.
  const npx = (version, ...args) => run("npx", ["--yes", "--prefer-offline", "--package", packages[version], "nexus-relay", ...args], { cwd, env: { ...env, ...account } });
  const made = npx(version, "deploy", "--url", "wss://relay.example.com", "--plan", "free", "--jurisdiction", "eu", "--partitions", "2");
  assert.equal(made.status, 0, made.stdout + made.stderr);
  assert.match(made.stdout, /\n {2}1\. make the D1 database nexus-relay, which stays in the jurisdiction eu\n/);
  assert.match(made.stdout, /Deployed\.\n\n {2}Relay {3}wss:\/\/relay\.example\.com\n[^]*Domains relay\.example\.com \(custom domain\)\n/);
  const there = await told();
  assert.deepEqual(there.databases.map(({ name, jurisdiction }) => [name, jurisdiction]), [["nexus-relay", "eu"], ["nexus-relay-1", "eu"]]);
  const worker = there.workers["nexus-relay"];
  assert.deepEqual(worker.domains, ["relay.example.com"]);
  assert.equal(worker.files.filter((file) => file.endsWith(".wasm")).length, 1, `${worker.files}`);
  const bindings = ({ metadata }) => Object.fromEntries(metadata.bindings.map((one) => [one.name, one.text ?? one.id ?? one.type]));
  const { RELAY_NAME, RELAY_URL, JURISDICTION, PARTITIONS, DB, DB_1, NEXUS_RELAY } = bindings(worker);
  const [db, db1] = there.databases.map(({ uuid }) => uuid);
  assert.deepEqual([RELAY_NAME, RELAY_URL, JURISDICTION, PARTITIONS, DB, DB_1, NEXUS_RELAY], ["Mine", "wss://relay.example.com", "eu", "2", db, db1, "durable_object_namespace"]);

  const before = own();
  const dry = npx(NEXT, "deploy", "--dry-run");
  assert.equal(dry.status, 0, dry.stdout + dry.stderr);
  assert.match(dry.stdout, /a dry run: nothing was deployed/);
  const { main } = JSON.parse(readFileSync(join(cwd, ".wrangler.merged.json"), "utf8"));
  assert.ok(main.startsWith("/") && !main.startsWith(all), main);
  assert.equal((await told()).workers["nexus-relay"].version, worker.version);
  const upgraded = npx(NEXT, "deploy");
  assert.equal(upgraded.status, 0, upgraded.stdout + upgraded.stderr);
  assert.match(upgraded.stdout, /\n {2}1\. put the new version over the Worker nexus-relay\n\n/);
  const after = await told();
  assert.notEqual(after.workers["nexus-relay"].version, worker.version);
  assert.deepEqual([after.databases, bindings(after.workers["nexus-relay"]), own()], [there.databases, bindings(worker), before]);
});

test("a package that is not whole says so", SLOW, () => {
  rmSync(join(folder, "node_modules/nexus-relay/build/index_bg.wasm"));
  const { status, stderr } = nexus("deploy", "--dry-run");
  assert.equal(status, 1);
  assert.match(stderr, /✗ the package in .*nexus-relay is not whole: it has no build\/index_bg\.wasm\. Install it again\./);
});
