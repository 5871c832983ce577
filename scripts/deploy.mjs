// `npm run deploy`, or `npx nexus-relay deploy`: puts the relay on your Cloudflare account.
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { built } from "./built.mjs";
import { PARTITIONS_MAX, configArguments, partitionsOf, readConfig, relayFiles } from "./config.mjs";
import { JURISDICTIONS, LOCATIONS, databaseSteps, look, prepare } from "./databases.mjs";
import { PLANS, ceiling, jurisdiction, location } from "./first.mjs";
import { ENV, all, flag, text, wrongEnv } from "./options.mjs";
import { account, addresses, facts, named, plan as planOf, progress, unrouted } from "./plan.mjs";
import { bin, fail, run, say, tryRun, typed } from "./run.mjs";

const HELP = `${typed("deploy", "[options]")}
  --url URL   the wss:// address of the relay: the first time, or to change it
  --plan PLAN free or paid, the first time: what the relay may write in a day (ROWS_PER_DAY) and how large it may become
  --name NAME what the Worker is called, nexus-relay if you do not say; the first time, its database as well
  --env NAME  a relay of its own beside the first one, with the settings of wrangler.override.NAME.toml
  --partitions N
              databases that share what is stored, 1 to ${PARTITIONS_MAX}; a relay that has events keeps the number it has
  --location PLACE
              where the databases are made, which is asked the first time: ${LOCATIONS.join(", ")}
  --jurisdiction WHERE
              what everything stays within, from the first time on: ${JURISDICTIONS.join(", ")}
  --yes       do what is shown, without asking
  --dry-run   build and check, touch no account`;
const OPTIONS = { url: text, plan: text, name: text, ...ENV, partitions: text, location: text, jurisdiction: text, yes: flag, "dry-run": flag, help: flag };

/** Whether the options mean something; an error says which does not. */
function check({ url, plan, name, env, location, jurisdiction, partitions }) {
  if (url !== undefined && !/^wss:\/\/[^\s/]+/.test(url)) throw new Error(`--url takes the wss:// address of the relay, not "${url}"`);
  if (plan !== undefined && !(plan in PLANS)) throw new Error(`--plan takes free or paid, not "${plan}"`);
  if (name !== undefined && !/^[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])?$/.test(name)) throw new Error(`--name takes at most 54 small letters, digits and dashes, not "${name}"`);
  const wrong = wrongEnv(env);
  if (wrong !== null) throw new Error(wrong);
  if (location !== undefined && !LOCATIONS.includes(location)) throw new Error(`--location takes one of ${LOCATIONS.join(", ")}, not "${location}"`);
  if (jurisdiction !== undefined && !JURISDICTIONS.includes(jurisdiction)) {
    throw new Error(`--jurisdiction takes one of ${JURISDICTIONS.join(", ")}, not "${jurisdiction}"`);
  }
  if (jurisdiction !== undefined && location !== undefined) throw new Error("--jurisdiction says where everything is: leave --location out");
  if (partitions !== undefined && !partitionsOf(partitions)) {
    throw new Error(`--partitions takes a whole number from 1 to ${PARTITIONS_MAX}, not "${partitions}"`);
  }
}

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

/** What is doubtful about overwriting a Worker, or null. */
export function doubt({ absent, unknown, url: there }, name, url) {
  if (absent || there === url) return null;
  if (unknown !== undefined) return `what the Worker ${name} is now could not be read (${unknown.split("\n")[0]}): if it is there, it is overwritten`;
  const other = there ? `serves ${there}` : "has no RELAY_URL: it may not be a relay";
  return `the Worker ${name} on your account ${other}. It would be overwritten with a relay at ${url}`;
}

/** What a deploy works with: wrangler on the operator's account, and the operator. */
const REAL = {
  /** Its output, or why it failed. */
  wrangler: (...args) => tryRun(bin("wrangler"), args),
  /** It does something on the operator's terminal; `mend` says what to do when it fails. */
  perform: (args, mend) => run(bin("wrangler"), args, { env: args[0] === "d1" ? { CI: "1" } : {}, mend }),
  ready: () => built({ size: true }),
  isThere: process.stdin.isTTY === true,
  ask: async (text) => {
    const terminal = createInterface({ input: process.stdin, output: process.stdout });
    const answer = await terminal.question(`${text} `);
    terminal.close();
    return answer.trim();
  },
};

export async function deploy(args, { wrangler, perform, ready, isThere, ask: answer, folder } = REAL) {
  const options = all(args, OPTIONS, HELP, check);
  const { url: given, plan, name, env, partitions, location: where, jurisdiction: within, yes, "dry-run": dryRun, help } = options;
  if (help) return console.log(HELP);
  const relay = { env, folder };
  const { override } = relayFiles(relay);
  const command = (...more) => typed("deploy", ...(env === undefined ? [] : ["--env", env]), ...more);
  /** Where nobody is there to answer, the script ends and names the option that answers. */
  const ask = (text, option) => (isThere ? answer(text) : fail(`${text}\n  Nobody is here to answer: ${command(option)}`));
  await ready();
  const said = { RELAY_URL: given, PARTITIONS: partitions, LOCATION: where };
  const vars = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  Object.assign(vars, jurisdiction(within, await readConfig({ vars, ...relay })));
  const config = await readConfig({ name, vars, ...relay });
  if (dryRun) {
    await perform(["deploy", "--dry-run", "--outdir", ".wrangler/dry-run", ...(await configArguments({ name, vars, ...relay }))]);
    return say(`a dry run: nothing was deployed. It would be\n\n${facts({ config, override })}\n`);
  }
  const on = account(wrangler, config);
  // Some of what wrangler is asked it answers without the settings.
  if (on?.id) process.env.CLOUDFLARE_ACCOUNT_ID ??= on.id;
  const { vars: { RELAY_URL: url } } = config;
  if (!url) {
    fail(
      `The relay must know its address, because clients sign it when they authenticate.\n` +
        `  ${command("--url", `wss://${config.name}.YOUR-SUBDOMAIN.workers.dev`)}\n` +
        `  YOUR-SUBDOMAIN is shown in the Cloudflare dashboard under Workers & Pages; a custom domain works as well.`,
    );
  }
  const there = deployed(wrangler, config.name);
  const found = await look({ wrangler, relay, name, vars });
  // Who is not at a terminal has said it by the option, or leaves it to Cloudflare.
  if (isThere) Object.assign(vars, await location(where, await readConfig({ vars, ...relay }), ask));
  Object.assign(vars, await ceiling(plan, await readConfig(relay), (text) => ask(text, "--plan free")));
  const wanted = await readConfig({ name, vars, ...relay });
  const steps = databaseSteps({ config: wanted, schemas: found.schemas, relay });
  const kept = keepStep({ name, vars, schemas: found.schemas, override });
  const last = `${there.absent ? "make" : "put the new version over"} the Worker ${config.name}`;
  const texts = [...steps.made, ...(kept === null ? [] : [{ text: kept }]), ...steps.migrated, { text: last }].map(({ text }) => text);
  const doubts = [doubt(there, config.name, url), ...steps.found.filter(({ hasEvents }) => hasEvents).map(({ text }) => `it is going to ${text}`)].filter(Boolean);
  const notes = [...doubts, ...steps.found.filter(({ hasEvents }) => !hasEvents).map(({ text }) => `it is going to ${text}`), ...unrouted(wanted, override)];
  say(planOf({ account: on, config: wanted, override, steps: texts, notes }));
  if (!yes && (isThere || doubts.length > 0)) {
    if (!/^y(es)?$/i.test(await ask(isThere ? "Is it to be done? [y/N]" : doubts.join("\n"), "--yes"))) fail("nothing was deployed");
  }
  const step = progress(texts, command());
  const { config: merged, mend } = await prepare({ wrangler, perform, relay, name, vars, found, steps, kept, step });
  const served = "Where wrangler has said `Uploaded`, the new version serves already, and what it says after that is missing.";
  await step(last, () => perform(["deploy", ...merged], [served, mend].filter(Boolean).join("\n  ")));
  console.log(`\n  Deployed.\n\n${addressesOf(wanted)}\n`);
}

/** What is kept in the operator's file, or null. */
function keepStep({ name, vars, schemas, override }) {
  const ids = schemas.filter(({ state }) => state !== "known").map((one) => `the id of ${one.name}`);
  const all = [...(name === undefined ? [] : [`name = ${name}`]), ...Object.entries(vars).map(([key, value]) => `${key} = ${value}`), ...ids];
  return all.length === 0 ? null : `keep in ${override}: ${all.join(", ")}`;
}

/** Where the relay is. */
function addressesOf(config) {
  const [first, ...more] = addresses(config.vars.RELAY_URL);
  const http = first.replace(/^ws/, "http").replace(/\/$/, "");
  const lines = [["Relay", [first, ...more].join(" ")], ["HUD", http], ["Health", `${http}/health`], ...named(config)];
  return lines.map(([key, value]) => `  ${key.padEnd(7)} ${value}`).join("\n");
}

if (fileURLToPath(import.meta.url) === process.argv[1]) await deploy(process.argv.slice(2));
