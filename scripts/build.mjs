// Builds the Worker into build/ and the HUD into build/hud/, unless they are there for these very sources.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { ROOT, bin, fail, fingerprint, once, run, say } from "./run.mjs";
import { buildHud } from "./hud.mjs";
import { setup, tool } from "./setup.mjs";

const SOURCES = ["src", "migrations", "build.rs", "Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml", "scripts/build.mjs"];
/** Gzipped bytes of the Worker: what we aim for and what Cloudflare takes (free plan). */
const BUDGET = 850_000;
const LIMIT = 3_000_000;

/** What compiles libsecp256k1 for wasm32. */
export function wasmCompiler() {
  return {
    CC_wasm32_unknown_unknown: process.env.CC_wasm32_unknown_unknown ?? "clang",
    CC_SHELL_ESCAPED_FLAGS: "1", // the path may have spaces
    CFLAGS_wasm32_unknown_unknown: `-include '${join(ROOT, "src/cloudflare/secp256k1.h")}'`,
    AR_wasm32_unknown_unknown: process.env.AR_wasm32_unknown_unknown ?? "llvm-ar",
  };
}

export async function build() {
  await once("build/.sources", fingerprint(SOURCES), async () => {
    say("building the Worker (worker-build --release)");
    await run(tool("worker-build"), ["--release"], {
      env: {
        // A tenth smaller than at level 2, and nearly as fast: what counts is built at level 3 (Cargo.toml).
        CARGO_PROFILE_RELEASE_OPT_LEVEL: "s",
        WASM_BINDGEN_BIN: tool("wasm-bindgen-cli", "wasm-bindgen"),
        WASM_OPT_BIN: bin("wasm-opt"),
        ESBUILD_BIN: bin("esbuild"),
        ...wasmCompiler(),
      },
    });
    // worker-build keeps the names of all functions, 55 kB of them: a panic tells its file and line without.
    const wasm = join(ROOT, "build/index_bg.wasm");
    await run(bin("wasm-opt"), [wasm, "--strip-debug", "--strip-producers", "-o", wasm]);
  });
  await buildHud(); // after the Worker, whose build starts with an empty folder
}

/** What Cloudflare will count; fails when it is over the budget. */
export function checkSize() {
  const size = ["index.js", "index_bg.wasm"]
    .map((file) => gzipSync(readFileSync(join(ROOT, "build", file)), { level: 9 }).length)
    .reduce((sum, bytes) => sum + bytes);
  const text = `${(size / 1000).toFixed(0)} kB gzipped; the budget is ${BUDGET / 1000} kB, Cloudflare's limit ${LIMIT / 1000} kB`;
  if (size > BUDGET) fail(`the Worker is too large: ${text}`);
  say(`the Worker is ${text}`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  await setup();
  await build();
  checkSize();
}
