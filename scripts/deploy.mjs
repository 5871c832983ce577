// `npm run deploy`: puts the relay on your Cloudflare account.
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bin, fail, run, say, tryRun } from "./run.mjs";
import { build, checkSize } from "./build.mjs";
import { MERGED as MERGED_FILE, OVERRIDE, configArguments, database, keep, readConfig } from "./config.mjs";
import { HAD, QUESTION, difference, migrations } from "./schema.mjs";
import { setup } from "./setup.mjs";

const HELP = `npm run deploy -- [options]
  --url URL   the wss:// address of the relay: the first time, or to change it
  --plan PLAN free or paid, the first time: what the relay may write in a day (ROWS_PER_DAY) and how large it may become
  --yes       overwrite a Worker of this name that has another address, without asking
  --dry-run   build and check, touch no account`;
/** What Cloudflare's plans include: rows a day, and most of the bytes a database can have. */
export const PLANS = {
  free: { ROWS_PER_DAY: "100000", MAX_DATABASE_BYTES: "450000000" },
  paid: { ROWS_PER_DAY: "1600000", MAX_DATABASE_BYTES: "9500000000" },
};
const OPTIONS = { url: { type: "string" }, plan: { type: "string" }, yes: { type: "boolean" }, "dry-run": { type: "boolean" }, help: { type: "boolean" } };
/** With it wrangler knows the operator's database, too. */
const MERGED = `--config ${MERGED_FILE}`;
const NO_DATABASE = "00000000-0000-0000-0000-000000000000";
const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** The options, or the end of the script where there is one it does not know. */
function options(args) {
  try {
    const { values } = parseArgs({ args, options: OPTIONS });
    if (values.url !== undefined && !/^wss:\/\/[^\s/]+/.test(values.url)) throw new Error(`--url takes the wss:// address of the relay, not "${values.url}"`);
    if (values.plan !== undefined && !(values.plan in PLANS)) throw new Error(`--plan takes free or paid, not "${values.plan}"`);
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

/**
 * The ceiling to keep: of the plan that was given, or is asked for where there is no ceiling and no database yet.
 * Nothing for a relay that has been deployed: what it has stays.
 */
export async function ceiling(given, config, ask) {
  const first = database(config).database_id === NO_DATABASE && !config.vars.ROWS_PER_DAY;
  if (given === undefined && !first) return {};
  const plan = given ?? (await ask("Which plan is your Cloudflare account on, free or paid? The relay will not write more rows a day than it includes."));
  return PLANS[plan.toLowerCase()] ?? fail(`the plan is free or paid, not "${plan}"; nothing was deployed`);
}

/**
 * Ends the script when the database's tables are of another version. Else it tells which migrations the database has `had`
 * and which it is `missing`. `where` is --remote or --local, with a folder.
 */
export async function checkSchema(wrangler, where, config, way) {
  const { database_name: name } = database(config);
  const ask = (command) => {
    const { output, failed } = wrangler("d1", "execute", "DB", ...where, "--json", "--yes", "--command", command);
    if (output === undefined) fail(`the tables of the D1 database ${name} could not be read: ${failed}`);
    return JSON.parse(output)[0].results;
  };
  const rows = ask(QUESTION);
  const had = rows.some((row) => row.name === "d1_migrations") ? ask(HAD).map((row) => row.name) : [];
  const known = migrations();
  const later = had.filter((one) => !known.includes(one));
  if (later.length > 0) {
    fail(`a later version has migrated the D1 database ${name} (${later.join(", ")}). It was not touched.\n  Deploy that version; docs/OPERATE.md, "Upgrading", says how to go back to this one.`);
  }
  const differs = await difference(rows);
  if (differs !== null) fail(`the D1 database ${name} has the tables of another version (${differs}). It was not touched.\n${way(name)}`);
  return { had, missing: known.filter((one) => !had.includes(one)) };
}

const WAY = () => `  Its events come into a new one like this (docs/OPERATE.md, "Upgrading", says what does not come along):
    npx wrangler d1 export DB --remote --output old.sql ${MERGED}
    nexus export --filter '{}' --d1 old.sql > events.jsonl      (the native program: npm run native)
    give [[d1_databases]] binding "DB" another database_name and no database_id in ${OVERRIDE}
    npm run deploy
    publish events.jsonl there with any client, under a key of LISTED_KEYS`;

/**
 * How to bring a database back to what it is now, as `back`; `failed` is why it is not known. Nothing where no migration will
 * change what it has.
 */
export function bookmark(wrangler, { had, missing }) {
  if (had.length === 0 || missing.length === 0) return {};
  const { output, failed } = wrangler("d1", "time-travel", "info", "DB", "--json");
  if (output === undefined) return { failed };
  const [, mark] = /"bookmark": ?"([\w-]+)"/.exec(output) ?? [];
  if (mark === undefined) return { failed: `wrangler's answer was not understood: ${output}` };
  return { back: `npx wrangler d1 time-travel restore DB --bookmark=${mark} ${MERGED}` };
}

function makeDatabase(config) {
  const { database_name: name, database_id: id } = database(config);
  if (id !== NO_DATABASE) return undefined;
  const { output: list, failed } = account("d1", "list", "--json");
  if (list === undefined) fail(`the D1 databases could not be listed: ${failed}`);
  const existing = JSON.parse(list).find((db) => db.name === name)?.uuid;
  if (!existing) say(`creating the D1 database ${name}`);
  const made = existing ?? account("d1", "create", name).output?.match(UUID)?.[0];
  return made ?? fail(`the D1 database could not be created; try: npx wrangler d1 create ${name}, and put its id into ${OVERRIDE}`);
}

async function deploy() {
  const { url: given, plan, yes, "dry-run": dryRun, help } = options(process.argv.slice(2));
  if (help) return console.log(HELP);
  await setup();
  await build();
  checkSize();
  if (dryRun) {
    await run(bin("wrangler"), ["deploy", "--dry-run", "--outdir", "test-output/deploy", ...(await configArguments())]);
    return say("a dry run: nothing was deployed");
  }
  if (account("whoami").output?.includes("You are logged in") !== true) {
    fail("not logged in to Cloudflare. Run: npx wrangler login (or set CLOUDFLARE_API_TOKEN)");
  }
  const { name, vars } = await readConfig();
  const url = given ?? vars.RELAY_URL;
  if (!url) {
    fail(
      `The relay must know its address, because clients sign it when they authenticate.\n` +
        `  npm run deploy -- --url wss://${name}.YOUR-SUBDOMAIN.workers.dev\n` +
        `  YOUR-SUBDOMAIN is shown in the Cloudflare dashboard under Workers & Pages; a custom domain works as well.`,
    );
  }
  const doubt = yes ? null : question(deployed((...args) => account(...args), name), name, url);
  if (doubt !== null) await confirm(doubt);
  const limits = await ceiling(plan, await readConfig(), (text) => ask(text, "--plan free"));
  const id = makeDatabase(await readConfig());
  const kept = { ...(given !== undefined && { RELAY_URL: given }), ...limits };
  await keep({ vars: kept, id });
  if (id !== undefined || Object.keys(kept).length > 0) say(`${OVERRIDE} has ${[...Object.keys(kept), "the database's id"].join(", ")}`);
  const config = await configArguments();
  const configured = (...args) => account(...args, ...config);
  const schema = await checkSchema(configured, ["--remote"], await readConfig(), WAY);
  const { back, failed } = bookmark(configured, schema);
  if (failed) fail(`the database's bookmark, to go back to should ${schema.missing.join(", ")} go wrong, could not be read: ${failed}\n  Nothing was changed.`);
  if (back) say(`before ${schema.missing.join(", ")}; what brings the database back to now, without all that is stored from now on:\n    ${back}`);
  const upgrading = back && `docs/OPERATE.md, "Upgrading", says what to do. What brings the database back, without all that was stored since:\n    ${back}`;
  await run(bin("wrangler"), ["d1", "migrations", "apply", "DB", "--remote", ...config], { env: { CI: "1" }, mend: upgrading });
  await run(bin("wrangler"), ["deploy", ...config], { mend: upgrading });
  const http = url.split(/[\s,]/)[0].replace(/^ws/, "http");
  console.log(`\n  Deployed.\n\n  Relay   ${url}\n  HUD     ${http}\n  Health  ${http.replace(/\/$/, "")}/health\n`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) await deploy();
