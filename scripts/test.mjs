// `npm test`: sets up and runs everything. Arguments after `--` choose steps by a part of their name:
// `npm test -- engine`. A step that cannot run here is skipped and says so; where CI=true it fails.
import { readFileSync, readdirSync } from "node:fs";
import { build, checkSize, wasmCompiler } from "./build.mjs";
import { fail, read, run, say, tryRun } from "./run.mjs";
import { cargoDeny, chromium, debian, promtool, setup } from "./setup.mjs";

const cargo = (...args) => run("cargo", args);
const clippy = (args, env = {}) => run("cargo", ["clippy", "--locked", ...args, "--", "-D", "warnings"], { env });
/** What is built for this machine. */
const HOST = ["-p", "nexus-relay", "-p", "nexus-bench"];

/** Files of tests that are run at once where a relay is served: most of what they do is wait. */
const TOGETHER = 3;

/** Node's own runner over the files of folders, or over `some` by their names, so many of them at once. */
function nodeTests(folders, { atOnce = 1, env = {}, timeout = 240_000, some = null } = {}) {
  const tests = (folder) => readdirSync(folder).filter((name) => name.endsWith(".test.mjs") && (some?.includes(name.split(".")[0]) ?? true));
  const files = [folders].flat().flatMap((folder) => tests(folder).map((name) => `${folder}/${name}`));
  const flags = ["--test", "--test-reporter=spec", `--test-timeout=${timeout}`, "--test-force-exit", `--test-concurrency=${atOnce}`];
  return run(process.execPath, [...flags, ...files], { env });
}

/** What both hosts must do, and what one alone does. */
const worker = () => nodeTests(["tests/both", "tests/worker"], { atOnce: TOGETHER });

/** What both hosts must do, where clients are at four gateways and events in two partitions. */
const shared = () => nodeTests(["tests/both"], { atOnce: TOGETHER, env: { NEXUS_GATEWAYS: "4", NEXUS_PARTITIONS: "2" } });

/** What is about the database, where that is the object's own. With `NEXUS_STORE=object` all of both folders runs on it. */
const ownStore = () => nodeTests(["tests/both"], { atOnce: TOGETHER, env: { NEXUS_STORE: "object" }, some: ["durability", "job", "market", "upgrade"] });

async function native() {
  await cargo("build", "--locked");
  // What its tests look with, one after the other: apt-get cannot be asked twice at once.
  for (const [program, name] of [["strace"], ["systemd-analyze", "systemd"]]) await debian(program, name);
  await nodeTests(["tests/both", "tests/native"], { atOnce: TOGETHER, env: { NEXUS_HOST: "native" } });
}

/** What both hosts must do, natively on two gateways and two partitions. */
const sharedNative = () => nodeTests(["tests/both"], { atOnce: TOGETHER, env: { NEXUS_HOST: "native", NEXUS_GATEWAYS: "2", NEXUS_PARTITIONS: "2" } });

/** Whether a known fault is in what npm brings. Only the registry knows: where it is not told, the step is skipped, in CI too. */
function npmAudit() {
  const { output, failed } = tryRun("npm", ["audit", "--json"]);
  const text = output ?? failed;
  const report = text.slice(text.indexOf("{"));
  let found;
  try {
    found = JSON.parse(report.slice(0, report.lastIndexOf("}") + 1)).metadata?.vulnerabilities;
  } catch {
    // It is not a report.
  }
  if (found === undefined) return { elsewhere: "the npm registry does not answer about known faults from here" };
  if (found.total > 0) fail(`npm knows of faults: ${JSON.stringify(found)}; \`npm audit\` names them`);
  return undefined;
}

/**
 * Whether all that Cargo.lock brings is licensed and comes from where deny.toml allows, and has no known fault. Where
 * the tool or the list of faults is not to be had, the step or its last part is skipped, in CI too.
 */
async function cargoDenies() {
  const { path, missing } = cargoDeny();
  if (missing) return { elsewhere: missing };
  await run(path, ["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
  const { output, failed } = tryRun(path, ["--locked", "check", "advisories"]);
  if (failed?.includes("failed to fetch advisory database")) {
    return { elsewhere: "licences, bans and sources are right; the list of known faults (RustSec) is not to be had from here" };
  }
  if (failed) fail(`cargo deny check advisories: ${failed}`);
  say(output || "no known faults");
  return undefined;
}

/** Strangers attack while two trade, on both hosts. */
async function siege() {
  await nodeTests("tests/siege", { timeout: 600_000 });
  await cargo("build", "--locked");
  await nodeTests("tests/siege", { timeout: 600_000, env: { NEXUS_HOST: "native" } });
}

/** The page in a browser; skipped, and said so, where there is none. */
async function hud() {
  const missing = await chromium();
  if (missing) return missing;
  await cargo("build", "--locked");
  await nodeTests("tests/hud", { atOnce: TOGETHER });
}

/** The metrics by Prometheus' own judge; skipped, and said so, where there is none. */
async function metrics() {
  const { path, missing } = promtool();
  if (missing) return missing;
  process.env.PROMTOOL = path;
  await nodeTests("tests/metrics");
}

/** The bench, built before its tests' clock starts. Their subject is whether it works, which a quick build shows. */
async function bench() {
  const env = { NEXUS_PROFILE: "debug" };
  await run(process.execPath, ["bench/build.mjs"], { env });
  await cargo("build", "--locked");
  await nodeTests("tests/bench", { env });
}

/** The package and the native program's archive: what is built is packed, and npm brings what it needs. */
async function packaged() {
  await cargo("build", "--locked");
  await nodeTests("tests/package", { timeout: 600_000 });
}

/** The host's build must not even see the Worker's bindings. */
function hostTree() {
  const tree = read("cargo", "tree", "--locked", "--edges", "all");
  if (tree === null) fail("cargo tree failed");
  const seen = tree.split("\n").filter((line) => /\b(worker|wasm-bindgen) v/.test(line));
  if (seen.length > 0) fail(`the host build depends on the Worker's crates:\n${seen.join("\n")}`);
}

const HUD = "the HUD in Chromium";
// Steps one after the other; those in a list of their own at once. The first two lists do without the Worker.
const CHECKS = [
  ["formatting", () => cargo("fmt", "--check", "--all")],
  ["clippy on the host", () => clippy([...HOST, "--all-targets"])],
  ["clippy on wasm32", () => clippy(["-p", "nexus-relay", "-p", "nexus-probe", "--lib", "--target", "wasm32-unknown-unknown"], wasmCompiler())],
  ["the host without the Worker's crates", hostTree],
  ["npm audit", npmAudit],
  ["cargo deny", cargoDenies],
];
const SUITES = [
  ["unit tests", () => cargo("test", "--locked", "--lib")],
  // Each is on one core for most of its time.
  [
    ["engine scenarios", () => cargo("test", "--locked", "--test", "engine")],
    ["property: four judges agree", () => cargo("test", "--locked", "--test", "property")],
    ["the market: a day of 20,000 jobs, and jobs in every order", () => cargo("test", "--locked", "--test", "market")],
    ["costs on a D1 of 100,000 events", () => cargo("test", "--locked", "--test", "costs")],
    ["random schedules of the engine", () => cargo("test", "--locked", "--test", "schedule")],
    ["random clusters of gateways and their partition", () => cargo("test", "--locked", "--test", "cluster")],
    ["store suite on SQLite and D1", () => cargo("test", "--locked", "--test", "store")],
    ["the fuzz corpus", () => cargo("test", "--locked", "--test", "corpus")],
  ],
];
const STEPS = [
  ["the Worker's size", checkSize],
  ["what the scripts decide", () => nodeTests("tests/scripts")],
  ["the Worker on Miniflare", worker],
  ["the Worker with four gateways and two partitions", shared],
  ["the Worker with its object's own database", ownStore],
  ["the native program", native],
  ["the native program with two gateways and two partitions", sharedNative],
  ["the siege", siege],
  ["the metrics by promtool", metrics],
  [HUD, hud],
  ["a moment of the bench", bench],
  // One compiles while the other waits.
  [
    ["the README's samples", () => nodeTests("tests/readme", { timeout: 900_000 })],
    ["the front door", () => nodeTests("tests/front_door", { timeout: 900_000 })],
    ["the package, without Rust", packaged],
  ],
];

const wanted = process.argv.slice(2);
const wants = (name) => wanted.length === 0 || wanted.some((part) => name.includes(part));
/** The steps of an entry. */
const together = (entry) => (Array.isArray(entry[0]) ? entry : [entry]);
const names = [...CHECKS, ...SUITES, ...STEPS].flatMap(together).map(([name]) => name);
if (!names.some(wants)) fail(`no such step; there are: ${names.join(", ")}`);

/** Seconds of CPU that what has been run took, or null where the system does not tell. */
function cpu() {
  if (process.platform !== "linux") return null;
  const [user, system] = readFileSync("/proc/self/stat", "utf8").split(") ").at(-1).split(" ").slice(13, 15).map(Number);
  return (user + system) / 100;
}

const took = [];
/**
 * Runs a step. What it gives back is why it was skipped: a text when it is for this machine to have what it needs,
 * `{ elsewhere }` when a service elsewhere does not answer.
 */
async function step([name, work], alone = true) {
  say(name);
  const [start, used] = [Date.now(), cpu()];
  const answer = await work();
  const skipped = typeof answer === "string" ? answer : answer?.elsewhere;
  const time = ((Date.now() - start) / 1000).toFixed(0).padStart(5);
  if (typeof answer === "string" && process.env.CI === "true") fail(`${name}: ${answer}; where CI=true everything must run`);
  if (skipped) say(`SKIPPED: ${skipped}`);
  const busy = used === null ? "" : alone ? `${(cpu() - used).toFixed(0).padStart(5)} s of CPU` : "at once".padStart(14);
  took.push(skipped ? `  SKIPPED  ${name}: ${skipped}` : `  ${time} s ${busy}  ${name}`);
}

/** Runs the steps of an entry that are wanted. */
function entered(entry) {
  const due = together(entry).filter(([name]) => wants(name));
  return Promise.all(due.map((one) => step(one, due.length === 1)));
}

// What is compiled once gains nothing from it.
if (process.env.CI === "true") process.env.CARGO_INCREMENTAL ??= "0";
await step(["set-up", setup]);
// The Worker is built and the browser is fetched while clippy looks; the HUD is there before programs with it are built.
const ready = STEPS.flatMap(together).some(([name]) => wants(name)) ? Promise.all([build(), wants(HUD) && chromium()]) : null;
for (const entry of CHECKS) await entered(entry);
if (ready) await step(["the rest of the Worker's build", () => ready.then(() => undefined)]);
for (const entry of [...SUITES, ...STEPS]) await entered(entry);
took.push(`  ${(performance.now() / 1000).toFixed(0).padStart(5)} s in all`);
const skipped = took.some((line) => line.includes("SKIPPED"));
console.log(`\n✓ ${skipped ? "what was run passed; not everything was run" : "everything passed"}\n${took.join("\n")}`);
