// Sees to it that what is run is built. A checkout sets itself up and builds; the package has it built.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT, fail, isCheckout } from "./run.mjs";

/** Whether `size` is to be looked at: what is deployed must be one that Cloudflare takes. */
export async function built({ size = false } = {}) {
  if (!isCheckout) {
    const missing = ["build/index.js", "build/index_bg.wasm", "build/hud/index.html"].filter((file) => !existsSync(join(ROOT, file)));
    if (missing.length > 0) fail(`the package in ${ROOT} is not whole: it has no ${missing.join(", ")}. Install it again.`);
    return;
  }
  // They bring Rust and a clang, which the package does without.
  const [{ setup }, { build, checkSize }] = await Promise.all([import("./setup.mjs"), import("./build.mjs")]);
  await setup();
  await build();
  if (size) checkSize();
}
