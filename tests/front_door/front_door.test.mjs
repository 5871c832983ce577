// The commands of the README, as a user types them: `npm start` and the example, `npm run deploy`
// as far as it goes without an account.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/run.mjs";
import { author, rawClient } from "../support/relay.mjs";

const npm = (args, env = {}) => spawnSync("npm", args, { encoding: "utf8", env: { ...process.env, ...env } });

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Runs `npm start -- args` until it says that the relay runs; `work` gets its output so far. */
async function started(args, work) {
  const child = spawn("npm", ["start", "--", ...args], { detached: true });
  let output = "";
  const running = new Promise((resolve, reject) => {
    const read = (data) => {
      output += data;
      if (output.includes("Stop       Ctrl-C")) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", (code) => reject(new Error(`npm start ended with ${code}:\n${output}`)));
  });
  try {
    await running;
    return await work(output);
  } finally {
    child.removeAllListeners("exit");
    const ended = new Promise((resolve) => child.on("exit", resolve));
    process.kill(-child.pid, "SIGTERM"); // its own group: npm, the script, wrangler
    await ended;
  }
}

/** Runs the example; it goes through, and ends when it has: afterwards it takes no longer than for the whole job. */
async function example(url) {
  const child = spawn(process.execPath, ["examples/job.mjs", url], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const begun = performance.now();
  let [output, done] = ["", null];
  for await (const data of child.stdout) {
    output += data;
    if (done === null && output.includes("result")) done = performance.now();
  }
  assert.equal(await ended, 0, output);
  assert.match(output, /result "Somebody who passes it on\."/);
  const [job, rest] = [done - begun, performance.now() - done];
  assert.ok(rest < job, `the job took ${job.toFixed(0)} ms, and then it went on for ${rest.toFixed(0)} ms`);
}

test("npm start serves the relay, and the example's job goes through", async () => {
  const persist = mkdtempSync(join(tmpdir(), "nexus-"));
  const port = await freePort();
  const args = ["--port", String(port), "--persist-to", persist, "--inspector-port", "0"];
  await started(args, async (output) => {
    assert.match(output, new RegExp(`ws://127\\.0\\.0\\.1:${port}`));
    assert.match(output, new RegExp(`http://127\\.0\\.0\\.1:${port}`));
    // Either name of this machine authenticates.
    for (const host of ["127.0.0.1", "localhost"]) await example(`ws://${host}:${port}`);
    const stats = await (await fetch(`http://127.0.0.1:${port}/api/stats`)).json();
    assert.deepEqual([stats.jobs.requested, stats.jobs.with_feedback, stats.jobs.with_result], [2, 2, 2]);
  });
  // A second start on the same folder finds the jobs.
  await started([...args, "--var", "AUTH_REQUIRED:false"], async () => {
    const stats = await (await fetch(`http://127.0.0.1:${port}/api/stats`)).json();
    assert.equal(stats.jobs.with_result, 2);
    const document = await (await fetch(`http://127.0.0.1:${port}/`, { headers: { Accept: "application/nostr+json" } })).json();
    assert.equal(document.limitation.auth_required, false);
  });
  rmSync(persist, { recursive: true });
});

test("npm start says which setting does not parse", async () => {
  const port = await freePort();
  const done = npm(["start", "--", "--port", String(port), "--inspector-port", "0", "--var", "MAX_LIMIT:many"]);
  assert.equal(done.status, 1);
  assert.match(done.stderr, /the relay does not start: .*MAX_LIMIT must be a whole number from 1 to 5000/);
});

test("the README's commands build and run the native program in a fresh clone, and an event is stored there", { timeout: 900_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const clone = join(folder, "nexus");
  const cloned = spawnSync("git", ["clone", "--quiet", ROOT, clone], { encoding: "utf8" });
  assert.equal(cloned.status, 0, cloned.stderr);
  // What its dependencies were compiled to is shared; the program is built anew.
  symlinkSync(resolve(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target")), join(clone, "target"));
  const inherited = Object.entries(process.env).filter(([name]) => name !== "CARGO_TARGET_DIR" && !name.startsWith("npm_"));
  // As quick to build as may be: it is not measured here.
  const quick = { CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16", CARGO_PROFILE_RELEASE_OPT_LEVEL: "0" };
  const env = { ...Object.fromEntries(inherited), ...quick };
  const [, block] = /^## Run the native program$.*?^```sh\n(.*?)^```/ms.exec(readFileSync(join(clone, "README.md"), "utf8"));
  const commands = block.trim().split("\n");
  const serve = commands.pop();
  for (const command of commands) {
    const ran = spawnSync("sh", ["-c", command], { cwd: clone, env, encoding: "utf8", maxBuffer: 1 << 28 });
    assert.equal(ran.status, 0, `${command}:\n${ran.stdout}${ran.stderr}`);
  }
  const address = `127.0.0.1:${await freePort()}`;
  const relay = spawn("sh", ["-c", `exec ${serve}`], { cwd: clone, env: { ...env, BIND: address }, stdio: ["ignore", "ignore", "pipe"] });
  t.after(() => relay.kill("SIGKILL"));
  const ended = new Promise((resolve) => relay.on("exit", resolve));
  await new Promise((resolve, reject) => {
    relay.stderr.on("data", (data) => `${data}`.includes("listening") && resolve());
    ended.then((code) => reject(new Error(`nexus ended with ${code}`)));
  });
  await example(`ws://${address}`);
  const page = await (await fetch(`http://${address}/`, { headers: { Accept: "text/html" } })).text();
  assert.match(page, /The HUD's page/);
  const who = author();
  const one = await rawClient(`ws://${address}`);
  const [, challenge] = await one.next();
  one.send(["AUTH", who.sign({ kind: 22242, tags: [["relay", `ws://${address}`], ["challenge", challenge]] })]);
  assert.equal((await one.next())[2], true);
  const event = who.sign({ content: "kept" });
  one.send(["EVENT", event]);
  assert.deepEqual(await one.next(), ["OK", event.id, true, ""]);
  one.close();
  relay.kill("SIGTERM");
  assert.equal(await ended, 0);
  const exported = spawnSync("sh", ["-c", `${serve} export --filter '{"authors":["${who.pubkey}"]}'`], { cwd: clone, env, encoding: "utf8" });
  assert.deepEqual(JSON.parse(exported.stdout), event);
});

test("npm run deploy: a dry run passes, a real one without an account says what to do", () => {
  const before = readFileSync("wrangler.toml", "utf8");
  const dry = npm(["run", "deploy", "--", "--dry-run"]);
  assert.equal(dry.status, 0, dry.stdout + dry.stderr);
  assert.match(dry.stdout, /env\.NEXUS_RELAY/);
  assert.match(dry.stdout, /env\.DB/);
  const home = mkdtempSync(join(tmpdir(), "nexus-home-"));
  // Nobody is logged in here; the tools built by set-up are found all the same.
  const cache = process.env.XDG_CACHE_HOME ?? join(process.env.HOME, ".cache");
  const keep = { XDG_CACHE_HOME: cache, CARGO_HOME: process.env.CARGO_HOME ?? join(process.env.HOME, ".cargo") };
  const rustup = { RUSTUP_HOME: process.env.RUSTUP_HOME ?? join(process.env.HOME, ".rustup") };
  const env = { HOME: home, XDG_CONFIG_HOME: home, CLOUDFLARE_API_TOKEN: "", ...keep, ...rustup };
  const real = npm(["run", "deploy"], env);
  assert.equal(real.status, 1);
  assert.match(real.stderr, /not logged in to Cloudflare\. Run: npx wrangler login/);
  assert.equal(readFileSync("wrangler.toml", "utf8"), before);
  rmSync(home, { recursive: true });
});
