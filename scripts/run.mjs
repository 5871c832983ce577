// Running commands: what every script shares.
import "./node.mjs";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Whether this is a checkout, which builds what it runs. The package, which `npm run package` makes, has it built. */
export const isCheckout = existsSync(join(ROOT, "Cargo.toml"));
/** Where the operator's files are: the checkout, or the folder in which the package's command is typed. */
export const FOLDER = isCheckout ? ROOT : process.cwd();

/** How a command of ours is typed: `dev`, `deploy` or `wrangler`, with its options. */
export function typed(command, ...options) {
  if (!isCheckout) return ["npx nexus-relay", command, ...options].join(" ");
  if (command === "wrangler") return ["npx wrangler", ...options].join(" ");
  const script = command === "dev" ? "npm start" : `npm run ${command}`;
  return options.length === 0 ? script : [script, "--", ...options].join(" ");
}

/** Ends the script with a message instead of a stack trace. */
export function fail(message) {
  console.error(`\n✗ ${message}`);
  process.exit(1);
}

export function say(message) {
  console.log(`▸ ${message}`);
}

/** The trimmed output of a command, or null when it is missing or fails. */
export function read(command, ...args) {
  const done = spawnSync(command, args, { cwd: ROOT, encoding: "utf8" });
  return done.status === 0 ? done.stdout.trim() : null;
}

/** The trimmed `output` of a command, or why it `failed`. */
export function tryRun(command, args) {
  const done = spawnSync(command, args, { cwd: FOLDER, encoding: "utf8", maxBuffer: 1 << 28 });
  if (done.status === 0) return { output: done.stdout.trim() };
  return { failed: done.error?.message ?? (`${done.stderr}${done.stdout}`.trim() || `exit status ${done.status}`) };
}

/** What `run` has begun: it does not outlive the script, which ends when another command has failed. */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill()));

/** Runs a command with its output on the terminal; `mend` says what to do when it fails. */
export function run(command, args, { env = {}, cwd = FOLDER, mend } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: "inherit" });
    running.add(child.on("close", () => running.delete(child)));
    const failed = (why) => fail(`${command} ${args.join(" ")}: ${why}${mend ? `\n  ${mend}` : ""}`);
    child.on("error", (error) => failed(error.code === "ENOENT" ? "not found" : error.message));
    child.on("exit", (code, signal) => (code === 0 ? resolve() : failed(signal ?? `exit status ${code}`)));
  });
}

/** The path of a program that npm installed: in a checkout, or beside the package or above it. */
export function bin(name) {
  const own = join(ROOT, "node_modules", ".bin", name);
  for (let at = ROOT; !isCheckout && at !== dirname(at); at = dirname(at)) {
    const path = join(at, "node_modules", ".bin", name);
    if (existsSync(path)) return path;
  }
  return own;
}

function* files(path) {
  const full = join(ROOT, path);
  if (!existsSync(full)) return;
  const entries = readdirSync(full, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) yield* files(child);
    else yield child;
  }
}

/** One hash over files and the files of folders. */
export function fingerprint(paths, salt = "") {
  const hash = createHash("sha256").update(salt);
  for (const path of paths) {
    const list = /\.\w+$/.test(path) ? [path] : [...files(path)];
    for (const file of list) hash.update(file).update("\0").update(readFileSync(join(ROOT, file)));
  }
  return hash.digest("hex");
}

/** Does `work` unless it has been done for this fingerprint; `stamp` is where that is noted. */
export async function once(stamp, print, work) {
  const file = join(ROOT, stamp);
  if (existsSync(file) && readFileSync(file, "utf8") === print) return false;
  await work();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, print);
  return true;
}
