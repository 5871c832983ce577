// Runs a script again under a Node of its own where the machine's is too old for wrangler. `run.mjs` imports it
// first, so nothing else has run by then. It uses only what an old Node has.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";

/** Where tools are kept that setup brings, for all checkouts. */
export const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "nexus-relay", "tools");
/** The oldest Node that will do (package.json says it, too), and the one of our own. */
const OLDEST = [22, 13];
const OWN = "26.10.0";

/** The path of our own Node, which the npm package `node` brings. */
function ownNode() {
  const folder = join(CACHE, `node-${OWN}`);
  const program = join(folder, "node_modules/node/bin/node");
  if (existsSync(program)) return program;
  console.log(`▸ Node ${process.version} is too old: installing Node ${OWN} (npm, kept in ${folder})`);
  const { status } = spawnSync("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", `node@${OWN}`], { stdio: "inherit" });
  if (status === 0 && existsSync(program)) return program;
  console.error(`\n✗ Node ${process.version} is too old and npm could not bring a newer one; install Node ${OLDEST.join(".")} or newer.`);
  process.exit(1);
}

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
  const program = ownNode();
  // Programs that npm installed find their Node by the PATH.
  const env = { ...process.env, PATH: `${dirname(program)}${delimiter}${process.env.PATH}` };
  const child = spawn(program, [...process.execArgv, ...process.argv.slice(1)], { stdio: "inherit", env });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => (signal ? process.exit(1) : process.exit(code)));
  await new Promise(() => {}); // what imports this waits for ever
}
