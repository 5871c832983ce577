// `npm run deploy`: puts the relay on your Cloudflare account.
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bin, fail, run, say, tryRun } from "./run.mjs";
import { build, checkSize } from "./build.mjs";
import { PARTITIONS_MAX, configArguments, databases, isMade, partitionsOf, readConfig } from "./config.mjs";
import { LOCATIONS, prepare } from "./databases.mjs";
import { setup } from "./setup.mjs";

const HELP = `npm run deploy -- [options]
  --url URL   the wss:// address of the relay: the first time, or to change it
  --plan PLAN free or paid, the first time: what the relay may write in a day (ROWS_PER_DAY) and how large it may become
  --partitions N
              databases that share what is stored, 1 to ${PARTITIONS_MAX}; a relay that has events keeps the number it has
  --location PLACE
              where the databases are made, which is asked the first time: ${LOCATIONS.join(", ")}
  --yes       overwrite a Worker of this name that has another address, without asking
  --dry-run   build and check, touch no account`;
/** What Cloudflare's plans include: rows a day, and most of the bytes a database can have. */
export const PLANS = {
  free: { ROWS_PER_DAY: "100000", MAX_DATABASE_BYTES: "450000000" },
  paid: { ROWS_PER_DAY: "1600000", MAX_DATABASE_BYTES: "9500000000" },
};
const [text, flag] = [{ type: "string" }, { type: "boolean" }];
const OPTIONS = { url: text, plan: text, partitions: text, location: text, yes: flag, "dry-run": flag, help: flag };

/** The options, or the end of the script where there is one it does not know. */
function options(args) {
  try {
    const { values } = parseArgs({ args, options: OPTIONS });
    if (values.url !== undefined && !/^wss:\/\/[^\s/]+/.test(values.url)) throw new Error(`--url takes the wss:// address of the relay, not "${values.url}"`);
    if (values.plan !== undefined && !(values.plan in PLANS)) throw new Error(`--plan takes free or paid, not "${values.plan}"`);
    if (values.location !== undefined && !LOCATIONS.includes(values.location)) {
      throw new Error(`--location takes one of ${LOCATIONS.join(", ")}, not "${values.location}"`);
    }
    if (values.partitions !== undefined && !partitionsOf(values.partitions)) {
      throw new Error(`--partitions takes a whole number from 1 to ${PARTITIONS_MAX}, not "${values.partitions}"`);
    }
    return values;
  } catch (error) {
    return fail(`${error.message}\n${HELP}`);
  }
}

/** Wrangler on the operator's account: its output, or why it failed. */
const account = (...args) => tryRun(bin("wrangler"), args);

/**
 * The RELAY_URL of the Worker of this name that is deployed; `absent` when there is none, `unknown` is why it could not be
 * read. `wrangler` runs it.
 */
export function deployed(wrangler, name) {
  const status = wrangler("deployments", "status", "--name", name, "--json");
  if (status.output === undefined) {
    return /code: 10007|has no deployments/.test(status.failed) ? { absent: true } : { unknown: status.failed };
  }
  try {
    const [version] = JSON.parse(status.output).versions.sort((a, b) => b.percentage - a.percentage);
    const view = wrangler("versions", "view", version.version_id, "--name", name, "--json");
    if (view.output === undefined) return { unknown: view.failed };
    return { url: JSON.parse(view.output).resources.bindings.find((binding) => binding.name === "RELAY_URL")?.text ?? "" };
  } catch (error) {
    return { unknown: `wrangler's answer was not understood: ${error.message}` };
  }
}

/** The question to ask before a Worker is overwritten, or null. */
export function question({ absent, unknown, url: there }, name, url) {
  if (absent || there === url) return null;
  if (unknown !== undefined) return `What the Worker ${name} is now could not be read (${unknown.split("\n")[0]}). Overwrite it, if it is there?`;
  const other = there ? `serves ${there}` : "has no RELAY_URL: it may not be a relay";
  return `The Worker ${name} on your account ${other}. Overwrite it with a relay at ${url}?`;
}

/** What the operator answers; where there is no terminal, the script ends and names the `option` that answers. */
async function ask(text, option) {
  if (!process.stdin.isTTY) fail(`${text}\n  Nobody is here to answer: npm run deploy -- ${option}`);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`${text} `);
  terminal.close();
  return answer.trim();
}

/** Goes on when the answer is yes. */
async function confirm(text) {
  if (!/^y(es)?$/i.test(await ask(`${text} [y/N]`, "--yes"))) fail("nothing was deployed");
}

/** Whether nothing was deployed with this config yet. */
const isFirst = (config) => !databases(config).some(isMade) && !config.vars.ROWS_PER_DAY;

/**
 * The ceiling to keep: of the plan that was given, or is asked for where there is no ceiling and no database yet.
 * Nothing for a relay that has been deployed: what it has stays.
 */
export async function ceiling(given, config, ask) {
  if (given === undefined && !isFirst(config)) return {};
  const plan = given ?? (await ask("Which plan is your Cloudflare account on, free or paid? The relay will not write more rows a day than it includes."));
  return PLANS[plan.toLowerCase()] ?? fail(`the plan is free or paid, not "${plan}"; nothing was deployed`);
}

/**
 * Where databases and their objects are to be, as a setting: asked for once, before there is a database, where a person can
 * answer. Nothing where Cloudflare may choose.
 */
export async function location(given, config, ask) {
  const open = isFirst(config) && !config.vars.LOCATION;
  const place = given ?? (open ? await ask(`Where are most of its clients? The databases are made there (${LOCATIONS.join(", ")}); empty: near you.`) : "");
  if (place === "") return {};
  return LOCATIONS.includes(place.toLowerCase()) ? { LOCATION: place.toLowerCase() } : fail(`the location is one of ${LOCATIONS.join(", ")}, not "${place}"; nothing was deployed`);
}

async function deploy() {
  const { url: given, plan, partitions, location: where, yes, "dry-run": dryRun, help } = options(process.argv.slice(2));
  if (help) return console.log(HELP);
  await setup();
  await build();
  checkSize();
  const said = { RELAY_URL: given, PARTITIONS: partitions, LOCATION: where };
  const vars = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  if (dryRun) {
    await run(bin("wrangler"), ["deploy", "--dry-run", "--outdir", "test-output/deploy", ...(await configArguments({ vars }))]);
    return say("a dry run: nothing was deployed");
  }
  if (account("whoami").output?.includes("You are logged in") !== true) {
    fail("not logged in to Cloudflare. Run: npx wrangler login (or set CLOUDFLARE_API_TOKEN)");
  }
  const { name, vars: { RELAY_URL: url } } = await readConfig({ vars });
  if (!url) {
    fail(
      `The relay must know its address, because clients sign it when they authenticate.\n` +
        `  npm run deploy -- --url wss://${name}.YOUR-SUBDOMAIN.workers.dev\n` +
        `  YOUR-SUBDOMAIN is shown in the Cloudflare dashboard under Workers & Pages; a custom domain works as well.`,
    );
  }
  const doubt = yes ? null : question(deployed((...args) => account(...args), name), name, url);
  if (doubt !== null) await confirm(doubt);
  // Who is not at a terminal has said it by the option, or leaves it to Cloudflare.
  if (process.stdin.isTTY) Object.assign(vars, await location(where, await readConfig({ vars }), (text) => ask(text)));
  const { config, mend } = await prepare({
    wrangler: account,
    perform: (args, mend) => run(bin("wrangler"), args, { env: { CI: "1" }, mend }),
    vars,
    limits: async () => ceiling(plan, await readConfig(), (text) => ask(text, "--plan free")),
  });
  await run(bin("wrangler"), ["deploy", ...config], { mend });
  const http = url.split(/[\s,]/)[0].replace(/^ws/, "http");
  console.log(`\n  Deployed.\n\n  Relay   ${url}\n  HUD     ${http}\n  Health  ${http.replace(/\/$/, "")}/health\n`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) await deploy();
