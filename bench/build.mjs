// Builds the load generator, and the Worker of the limits.
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, bin, run, say } from "../scripts/run.mjs";
import { wasmCompiler } from "../scripts/build.mjs";

const TARGET = join(ROOT, "target/bench");
export const GENERATOR = join(TARGET, "release/nexus-bench");
/** The folder of the Worker of the limits. */
export const PROBE = join(TARGET, "probe");

const cargo = (args, env = {}) =>
  run("cargo", ["build", "--locked", "--release", "--quiet", "--manifest-path", join(ROOT, "bench/Cargo.toml"), ...args], {
    env: { CARGO_TARGET_DIR: TARGET, ...env },
  });

export async function buildGenerator() {
  say("building the load generator");
  await cargo([]);
}

export async function buildProbe() {
  say("building the Worker of the limits");
  await cargo(["-p", "nexus-probe", "--target", "wasm32-unknown-unknown"], wasmCompiler());
  mkdirSync(PROBE, { recursive: true });
  // As worker-build does it for the relay, so that both verify alike.
  const wasm = join(TARGET, "wasm32-unknown-unknown/release/nexus_probe.wasm");
  const { flags } = /wasm-opt = \[(?<flags>.*)\]/.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8")).groups;
  await run(bin("wasm-opt"), [...JSON.parse(`[${flags}]`), "--strip-debug", wasm, "-o", join(PROBE, "probe.wasm")]);
  copyFileSync(join(ROOT, "bench/probe/worker.js"), join(PROBE, "worker.js"));
}
