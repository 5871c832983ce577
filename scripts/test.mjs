// `npm test`: sets up and runs everything. Arguments after `--` choose steps by a part of their name:
// `npm test -- engine`.
import { readdirSync } from "node:fs";
import { buildGenerator, buildProbe } from "../bench/build.mjs";
import { build, checkSize, wasmCompiler } from "./build.mjs";
import { buildNative } from "./native.mjs";
import { fail, read, run, say } from "./run.mjs";
import { chromium, promtool, setup } from "./setup.mjs";

const cargo = (...args) => run("cargo", args);

/** Node's own runner over the files of a folder, or some of them, one at a time when `serial`. */
function nodeTests(folder, { serial = false, only, env = {} } = {}) {
  const files = only ?? readdirSync(folder).filter((name) => name.endsWith(".test.mjs"));
  const flags = ["--test", "--test-reporter=spec", "--test-timeout=240000", "--test-force-exit"];
  if (serial) flags.push("--test-concurrency=1");
  return run(process.execPath, [...flags, ...files.map((name) => `${folder}/${name}`)], { env });
}

/** What both hosts must do, and what one alone does. */
async function worker() {
  await nodeTests("tests/both");
  await nodeTests("tests/worker");
}

async function native() {
  await cargo("build", "--locked");
  await nodeTests("tests/both", { env: { NEXUS_HOST: "native" } });
  await nodeTests("tests/native", { serial: true });
}

/** The page in a browser; skipped, and said so, where there is none. */
async function hud() {
  const missing = await chromium();
  if (missing) return missing;
  await nodeTests("tests/hud", { serial: true });
  await cargo("build", "--locked");
  await nodeTests("tests/hud", { serial: true, only: ["hud.test.mjs"], env: { NEXUS_HOST: "native" } });
}

/** The metrics by Prometheus' own judge; skipped, and said so, where there is none. */
async function metrics() {
  const { path, missing } = promtool();
  if (missing) return missing;
  process.env.PROMTOOL = path;
  await nodeTests("tests/metrics");
}

/** The bench, built before its tests' clock starts. */
async function bench() {
  const clippy = (args, env = {}) =>
    run("cargo", ["clippy", "--locked", "--release", "--manifest-path", "bench/Cargo.toml", ...args, "--", "-D", "warnings"], {
      env: { CARGO_TARGET_DIR: "target/bench", ...env },
    });
  await clippy([]);
  await clippy(["-p", "nexus-probe", "--target", "wasm32-unknown-unknown"], wasmCompiler());
  await buildGenerator();
  await buildProbe();
  await buildNative();
  await nodeTests("tests/bench", { serial: true });
}

/** The host's build must not even see the Worker's bindings. */
function hostTree() {
  const tree = read("cargo", "tree", "--locked", "--edges", "all");
  if (tree === null) fail("cargo tree failed");
  const seen = tree.split("\n").filter((line) => /\b(worker|wasm-bindgen) v/.test(line));
  if (seen.length > 0) fail(`the host build depends on the Worker's crates:\n${seen.join("\n")}`);
}

const STEPS = [
  ["formatting", () => cargo("fmt", "--check").then(() => cargo("fmt", "--check", "--all", "--manifest-path", "bench/Cargo.toml"))],
  ["clippy on the host", () => cargo("clippy", "--locked", "--all-targets", "--", "-D", "warnings")],
  ["clippy on wasm32", () => cargo("clippy", "--locked", "--lib", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings")],
  ["the host without the Worker's crates", hostTree],
  ["unit tests", () => cargo("test", "--locked", "--lib")],
  ["engine scenarios", () => cargo("test", "--locked", "--test", "engine")],
  ["store suite on SQLite and D1", () => cargo("test", "--locked", "--test", "store")],
  ["the fuzz corpus", () => cargo("test", "--locked", "--test", "corpus")],
  ["random schedules of the engine", () => cargo("test", "--locked", "--test", "schedule")],
  ["property: four judges agree", () => cargo("test", "--locked", "--test", "property")],
  ["the market: a day of 20,000 jobs, and jobs in every order", () => cargo("test", "--locked", "--test", "market")],
  ["costs on a D1 of 100,000 events", () => cargo("test", "--locked", "--test", "costs")],
  ["the Worker's size", checkSize],
  ["what the scripts decide", () => nodeTests("tests/scripts", { serial: true })],
  ["the Worker on Miniflare", worker],
  ["the native program", native],
  ["the metrics by promtool", metrics],
  ["the HUD in Chromium", hud],
  ["a moment of the bench", bench],
  ["the front door", () => nodeTests("tests/front_door", { serial: true })],
];

const wanted = process.argv.slice(2);
const steps = STEPS.filter(([name]) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
if (steps.length === 0) fail(`no such step; there are: ${STEPS.map(([name]) => name).join(", ")}`);

const took = [];
/** Runs a step; what it gives back is why it was skipped. */
async function step(name, work) {
  say(name);
  const start = Date.now();
  const skipped = await work();
  const time = ((Date.now() - start) / 1000).toFixed(0).padStart(5);
  if (typeof skipped === "string") say(`SKIPPED: ${skipped}`);
  took.push(typeof skipped === "string" ? `  SKIPPED  ${name}: ${skipped}` : `  ${time} s  ${name}`);
}

await step("set-up and build", async () => {
  await setup();
  await build();
});
for (const [name, work] of steps) await step(name, work);
const skipped = took.some((line) => line.includes("SKIPPED"));
console.log(`\n✓ ${skipped ? "what was run passed; not everything was run" : "everything passed"}\n${took.join("\n")}`);
