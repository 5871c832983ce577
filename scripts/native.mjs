// The native program: building it with the HUD in it, and starting it.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { buildHud } from "./hud.mjs";
import { ROOT, run, say } from "./run.mjs";
import { setup } from "./setup.mjs";

/** The folder of what cargo builds. */
export const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
/** Where `cargo build` leaves a program, by profile. */
export const program = (profile, name = "nexus") => join(TARGET, profile, name);

export async function buildNative() {
  await buildHud();
  say("building the native program (cargo build --release --features native)");
  await run("cargo", ["build", "--release", "--locked", "--features", "native"]);
}

/** What runs now; nothing is left behind. */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts it and waits until it listens; `log` is given each line, `ended` is its exit code and signal. */
export async function launch(path, { args = [], env, log }) {
  const child = spawn(path, args, { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "inherit", "pipe"] });
  running.add(child);
  const ended = new Promise((resolve) =>
    child.on("exit", (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    }),
  );
  const listening = new Promise((resolve) =>
    createInterface({ input: child.stderr }).on("line", (line) => {
      const said = line.startsWith("{") ? JSON.parse(line) : {};
      if (said.what === "listening") resolve(said.address);
      log(line);
    }),
  );
  const address = await Promise.race([listening, ended]);
  if (typeof address !== "string") throw new Error(`nexus ended at once: ${JSON.stringify(address)}`);
  return { child, ended, http: `http://${address}` };
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  await setup();
  await buildNative();
  say("it is target/release/nexus");
}
