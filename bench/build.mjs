// Builds the load generator, and the Worker of the limits. Another profile than `release` shows that all works, not
// how fast: NEXUS_PROFILE=debug is what cargo calls `dev`.
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, bin, run, say } from "../scripts/run.mjs";
import { wasmCompiler } from "../scripts/build.mjs";
import { TARGET, program } from "../scripts/native.mjs";

const PROFILE = process.env.NEXUS_PROFILE ?? "release";
const WASM = "wasm32-unknown-unknown";
/** The relay, natively. */
export const PROGRAM = program(PROFILE);
export const GENERATOR = program(PROFILE, "nexus-bench");
/** The folder of what the bench makes beside programs. */
export const MADE = join(TARGET, "bench");
/** The folder of the Worker of the limits. */
export const PROBE = join(MADE, "probe");

const cargo = (args, env = {}) =>
  run("cargo", ["build", "--locked", "--quiet", "--profile", PROFILE === "debug" ? "dev" : PROFILE, ...args], { env });

export async function buildGenerator() {
  say("building the load generator");
  await cargo(["-p", "nexus-bench"]);
}

export async function buildProbe() {
  say("building the Worker of the limits");
  await cargo(["-p", "nexus-probe", "--target", WASM], wasmCompiler());
  mkdirSync(PROBE, { recursive: true });
  // As worker-build does it for the relay, so that both verify alike.
  const wasm = join(TARGET, WASM, PROFILE, "nexus_probe.wasm");
  const { flags } = /wasm-opt = \[(?<flags>.*)\]/.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8")).groups;
  await run(bin("wasm-opt"), [...JSON.parse(`[${flags}]`), "--strip-debug", wasm, "-o", join(PROBE, "probe.wasm")]);
  copyFileSync(join(ROOT, "bench/probe/worker.js"), join(PROBE, "worker.js"));
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  await buildGenerator();
  await buildProbe();
}
