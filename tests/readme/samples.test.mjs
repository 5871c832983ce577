// The README's samples, as they stand there but for the relay's address, at a relay on this machine.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, run } from "../../scripts/run.mjs";
import { author, rawClient, startRelay, within } from "../support/relay.mjs";

const FOLDER = join(ROOT, "test-output/readme");
/** A build of all that nostr-sdk needs is among it. */
const LONG = { timeout: 600_000 };

/** The first sample in a language, for the relay at `url` in place of the one it names. */
function sample(language, url) {
  const [, text] = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "ms").exec(readFileSync(join(ROOT, "README.md"), "utf8"));
  const named = text.match(/wss?:\/\/[^"\s]+/g);
  assert.equal(named?.length, 1, "a sample names one relay");
  return text.replace(named[0], url);
}

/** A relay that is reached by its own address, as a client that only knows that has to. */
async function served(vars = {}) {
  const port = await new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
  return startRelay({ port, vars: { RELAY_URL: `ws://127.0.0.1:${port}`, ...vars } });
}

/** Runs a sample; `said` is its output when `enough` of it is there. */
function start(command, args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  const waiting = [];
  const look = () => waiting.forEach(([enough, resolve]) => enough.test(output) && resolve(output));
  child.stdout.on("data", (data) => ((output += data), look()));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const said = (enough) => within(30_000, new Promise((resolve) => (waiting.push([enough, resolve]), look())), `${enough}`);
  return { child, ended, said, output: () => output };
}

test("the JavaScript sample publishes a job and shows its result", LONG, async () => {
  const relay = await served();
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, "sample.mjs"), sample("js", relay.ws));
  const provider = author();
  const one = await rawClient(relay.ws);
  const [, challenge] = await one.next();
  one.send(["AUTH", provider.sign({ kind: 22242, tags: [["relay", relay.ws], ["challenge", challenge]] })]);
  assert.equal((await one.next())[2], true);
  one.send(["REQ", "jobs", { kinds: [5050], limit: 0 }]);
  assert.equal((await one.next())[0], "EOSE");
  const running = start(process.execPath, [join(FOLDER, "sample.mjs")]);
  const [, , job] = await within(30_000, one.next(), "job");
  assert.deepEqual(job.tags, [["i", "What is a relay?", "text"]]);
  one.send(["EVENT", provider.sign({ kind: 6050, tags: [["request", JSON.stringify(job)], ["e", job.id], ["p", job.pubkey]], content: "Somebody." })]);
  assert.match(await running.said(/\n/), /^6050 Somebody\.\n$/);
  running.child.kill();
  await running.ended;
  one.close();
  await relay.stop();
});

test("the Rust sample proves its key and publishes a job", LONG, async () => {
  const relay = await served();
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, "main.rs"), sample("rust", relay.ws));
  const target = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "readme");
  await run("cargo", ["build", "--locked", "--quiet", "--manifest-path", join(ROOT, "tests/readme/Cargo.toml")], { env: { CARGO_TARGET_DIR: target } });
  const running = start(join(target, "debug/nexus-readme"), []);
  assert.equal(await within(60_000, running.ended, "end"), 0);
  assert.match(running.output(), new RegExp(`success: \\{.*127\\.0\\.0\\.1.*failed: \\{\\}`));
  const { events, auth } = await relay.stats();
  assert.deepEqual([events.by_kind["5050"], auth.accepted], [1, 1]);
  await relay.stop();
});
