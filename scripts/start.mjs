// `npm start`: sets up, builds, migrates the local D1s and serves the relay. Arguments after `--` go to
// `wrangler dev`.
import { spawn } from "node:child_process";
import { ROOT, bin, fail, run, say, tryRun } from "./run.mjs";
import { build } from "./build.mjs";
import { MERGED, OVERRIDE, configArguments, readConfig } from "./config.mjs";
import { check, migrateAll } from "./databases.mjs";
import { setup } from "./setup.mjs";

const args = process.argv.slice(2);

/** The value of `--name value` or `--name=value`, or undefined. */
function option(name) {
  const at = args.findIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (at < 0) return undefined;
  return args[at].includes("=") ? args[at].slice(args[at].indexOf("=") + 1) : args[at + 1];
}

async function healthy(url, child) {
  for (let tries = 0; tries < 240 && child.exitCode === null; tries++) {
    const answer = await fetch(`${url}/health`).catch(() => null);
    if (answer) return { ok: answer.ok, body: await answer.text() };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return null;
}

await setup();
await build();

const port = option("port") ?? "8787";
const host = option("ip") ?? "127.0.0.1";
const persist = option("persist-to") ? ["--persist-to", option("persist-to")] : [];
/** What to do about a local database that is not as it is used. */
const WAY = {
  tables: ({ binding }) =>
    `  Keep its events with \`npx wrangler d1 export ${binding} --local --output old.sql --config ${MERGED}\`, and start with another folder: npm start -- --persist-to ./data`,
  partitions: (count) => `  Set PARTITIONS = "${count}" in ${OVERRIDE}, or start with another folder: npm start -- --persist-to ./data`,
};

// A setting may be given to wrangler alone; how many databases there are must be known here, too.
const partitions = args.map((arg) => /^(?:--var=)?PARTITIONS:(.*)$/.exec(arg)?.[1]).find((value) => value !== undefined);
const settings = { vars: partitions === undefined ? {} : { PARTITIONS: partitions } };
const config = await configArguments(settings);
const merged = await readConfig(settings);
await check((...args) => tryRun(bin("wrangler"), [...args, ...config]), ["--local", ...persist], merged, WAY);
say("applying migrations to the local D1");
await migrateAll((args) => run(bin("wrangler"), args, { env: { CI: "1" } }), merged, ["--local", ...persist, ...config]);

// The relay compares the host and port of an AUTH event with these names.
const names = [...new Set([host, "127.0.0.1", "localhost"])].map((name) => `ws://${name}:${port}`).join(" ");
const given = (flag, values) => (option(flag) === undefined ? values : []);
const own = args.some((arg) => arg.startsWith("RELAY_URL:")) ? [] : ["--var", `RELAY_URL:${names}`];
say("starting the relay (wrangler dev)");
const child = spawn(
  bin("wrangler"),
  ["dev", ...config, ...given("port", ["--port", port]), ...given("ip", ["--ip", host]), "--show-interactive-dev-session=false", ...own, ...args],
  { cwd: ROOT, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code) => process.exit(code ?? 1));

const local = `127.0.0.1:${port}`;
const health = await healthy(`http://${local}`, child);
if (health === null) {
  child.kill();
  fail(`the relay did not answer on http://${local}/health; the lines above say why`);
}
if (!health.ok) {
  child.kill();
  fail(`the relay does not start: ${health.body}`);
}
console.log(`
  Nexus is running.

  Relay      ws://${local}
  HUD        http://${local}
  Try it     node examples/job.mjs ws://${local}
             one job from buyer to provider and back
  Stop       Ctrl-C
`);
