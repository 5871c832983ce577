// `npm run package`: makes dist/nexus-relay-X.Y.Z.tgz, in which everything is built. It needs Node alone, and runs the same scripts.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, bin, run, say } from "./run.mjs";

export const DIST = join(ROOT, "dist");
/** What is taken as it is. */
const FILES = ["build/index.js", "build/index_bg.wasm", "build/hud", "migrations", "wrangler.toml", "LICENSE", "CHANGELOG.md", "docs/OPERATE.md", "docs/REFUSALS.md", "docs/market.md"];
/** What its command is made of; the other scripts are for a checkout. */
const SCRIPTS = ["nexus-relay.cjs", "cli", "node", "run", "built", "options", "config", "toml", "schema", "databases", "first", "plan", "start", "deploy", "wrangler"];
/** What these import; all else is for building. */
const NEEDED = ["smol-toml", "wrangler"];

/** The package's own package.json: of the checkout's what holds for it, too. */
export function manifest(own, version = own.version) {
  const { name, description, license, type, engines, dependencies } = own;
  const needed = Object.fromEntries(NEEDED.map((name) => [name, dependencies[name]]));
  // A registry wants to know where it was made.
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: where } = process.env;
  const repository = where && { type: "git", url: `git+${server}/${where}.git` };
  return { name, version, description, license, repository, type, bin: { "nexus-relay": "scripts/nexus-relay.cjs" }, engines, dependencies: needed };
}

/** Packs what is built, as a `version` if another is wanted than that of package.json, into the folder `to`; the path of the file. */
export async function pack({ version, to = DIST } = {}) {
  const own = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const made = manifest(own, version);
  const stage = join(to, `package-${made.version}`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  const take = (file, as = file) => {
    mkdirSync(dirname(join(stage, as)), { recursive: true });
    cpSync(join(ROOT, file), join(stage, as), { recursive: true });
  };
  for (const file of FILES) take(file);
  for (const name of SCRIPTS) take(`scripts/${name.includes(".") ? name : `${name}.mjs`}`);
  take("scripts/package.md", "README.md");
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(made, null, 2)}\n`);
  // The example brings what it imports.
  const bundle = ["--bundle", "--platform=node", "--format=esm", "--target=node22", "--log-level=warning", "--banner:js=import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"];
  await run(bin("esbuild"), ["examples/job.mjs", ...bundle, `--outfile=${join(stage, "examples/job.mjs")}`]);
  await run("npm", ["pack", stage, "--pack-destination", to, "--loglevel=error"]);
  rmSync(stage, { recursive: true });
  return join(to, `${made.name}-${made.version}.tgz`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const [{ setup }, { build, checkSize }] = await Promise.all([import("./setup.mjs"), import("./build.mjs")]);
  await setup();
  await build();
  checkSize();
  say(`it is ${await pack()}`);
}
