// `npm start`, or `npx nexus-relay dev`: migrates the local D1s and serves the relay on this machine.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { built } from "./built.mjs";
import { configArguments, readConfig, relayFiles } from "./config.mjs";
import { check, migrateAll } from "./databases.mjs";
import { list, some, text } from "./options.mjs";
import { FOLDER, bin, fail, isCheckout, run, say, tryRun, typed } from "./run.mjs";

const HELP = `${typed("dev", "[options]")}
  --port N            8787 if you do not say
  --ip ADDRESS        the address to listen at: 127.0.0.1, or 0.0.0.0 for all of this machine's
  --var KEY:VALUE     a setting, as AUTH_REQUIRED:false; wrangler.override.toml keeps them
  --persist-to FOLDER where the events are kept: .wrangler/state if you do not say
  --env NAME          a relay of its own, with the settings of wrangler.override.NAME.toml
  All else is handed on to \`wrangler dev\`.`;

/** What to do about a local database that is not as it is used. */
const wayOf = ({ override, merged }) => ({
  override,
  tables: ({ binding }) =>
    `  Keep its events with \`${typed("wrangler", `d1 export ${binding} --local --output old.sql --config ${merged}`)}\`, and start with another folder: ${typed("dev", "--persist-to ./data")}`,
  partitions: (count) => `  Set PARTITIONS = "${count}" in ${override}, or start with another folder: ${typed("dev", "--persist-to ./data")}`,
});

/** Ends the script where a port is somebody else's: wrangler would take another one, which clients do not know. */
async function mustBeFree(port, host) {
  const server = createServer().listen(port, host);
  const error = await once(server, "listening").then(() => null, (error) => error);
  if (error === null) return once(server.close(), "close");
  const why = { EADDRINUSE: "is taken by another program, perhaps a relay that runs already", EACCES: "is for root alone" }[error.code];
  return fail(`port ${port} at ${host} ${why ?? `cannot be listened at (${error.message})`}. Take another one: ${typed("dev", `--port ${Number(port) + (port < 1024 ? 8000 : 1)}`)}`);
}

async function healthy(url, child) {
  for (let tries = 0; tries < 240 && child.exitCode === null; tries++) {
    const answer = await fetch(`${url}/health`).catch(() => null);
    if (answer) return { ok: answer.ok, body: await answer.text() };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return null;
}

export async function dev(args) {
  const { values, words, rest } = some(args, { port: text, ip: text, "persist-to": text, var: list });
  if (values.help) return console.log(HELP);
  const port = values.port ?? "8787";
  const host = values.ip ?? "127.0.0.1";
  if (!/^\d{1,5}$/.test(port) || port > 65535) fail(`--port takes a number up to 65535, not "${port}"`);
  await mustBeFree(port, host);
  await built();

  const relay = { env: values.env };
  const persist = values["persist-to"] === undefined ? [] : ["--persist-to", values["persist-to"]];
  // A setting may be given to wrangler alone; how many databases there are must be known here, too.
  const given = [...(values.var ?? []), ...words];
  const partitions = given.map((one) => /^PARTITIONS:(.*)$/.exec(one)?.[1]).find((value) => value !== undefined);
  // All is on this machine, where there are no jurisdictions.
  const settings = { ...relay, local: true, vars: { JURISDICTION: "", ...(partitions !== undefined && { PARTITIONS: partitions }) } };
  const config = await configArguments(settings);
  const merged = await readConfig(settings);
  await check((...args) => tryRun(bin("wrangler"), [...args, ...config]), ["--local", ...persist], merged, wayOf(relayFiles(relay)));
  say("applying migrations to the local D1");
  await migrateAll((args) => run(bin("wrangler"), args, { env: { CI: "1" } }), merged, ["--local", ...persist, ...config]);

  // The relay compares the host and port of an AUTH event with these names.
  const names = [...new Set([host, "127.0.0.1", "localhost"])].map((name) => `ws://${name}:${port}`).join(" ");
  const own = given.some((one) => one.startsWith("RELAY_URL:")) ? [] : ["--var", `RELAY_URL:${names}`];
  const listen = [...(values.port === undefined ? ["--port", port] : []), ...(values.ip === undefined ? ["--ip", host] : [])];
  say("starting the relay (wrangler dev)");
  const child = spawn(bin("wrangler"), ["dev", ...config, ...listen, "--show-interactive-dev-session=false", ...own, ...rest], { cwd: FOLDER, stdio: "inherit" });
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
  Try it     ${isCheckout ? "node examples/job.mjs" : "npx nexus-relay job"} ws://${local}
             one job from buyer to provider and back
  Stop       Ctrl-C
`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) await dev(process.argv.slice(2));
