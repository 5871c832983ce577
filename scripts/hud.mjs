// Bundles the HUD into build/hud/, which the Worker serves, unless it is there for these very sources.
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ROOT, bin, fingerprint, once, run, say } from "./run.mjs";

const SOURCES = ["hud", "package-lock.json", "scripts/hud.mjs"];
/** What the page loads; everything else is bundled into these. */
const FILES = ["index.html", "job.html", "icon.svg", "hud.css", "theme.js", "hud.js", "job-page.js", "admin.html", "admin.css", "admin.js", "bunker.js"];
/** Says with which headers the others are served; it is not served itself. */
const HEADERS = "_headers";
const FLAGS = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--charset=utf8", "--log-level=warning", "--external:/bunker.js"];
const COPIED = ["--loader:.html=copy", "--loader:.svg=copy", "--entry-names=[name]"];

export async function buildHud() {
  // The stamp lies beside the folder: what is in that is served.
  await once("build/.hud-sources", fingerprint(SOURCES), async () => {
    say("bundling the HUD (esbuild)");
    rmSync(join(ROOT, "build/hud"), { recursive: true, force: true });
    await run(bin("esbuild"), [...FILES.map((file) => `hud/${file}`), ...FLAGS, ...COPIED, "--outdir=build/hud"]);
    copyFileSync(join(ROOT, "hud", HEADERS), join(ROOT, "build/hud", HEADERS));
  });
}
