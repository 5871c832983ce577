// The relay's D1 databases, one for each partition: which are there, whether each is what it is used as, how one goes back.
import { configArguments, databases, isMade, keep, readConfig, relayFiles } from "./config.mjs";
import { fail, say, typed } from "./run.mjs";
import { HAD, QUESTION, difference, migrations } from "./schema.mjs";

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** How often a database was written to, and which partition of how many it says it is: src/store/map.rs keeps that. */
const VERSION = "SELECT version FROM totals";
const PLACE = "SELECT count, own FROM partitions ORDER BY version DESC LIMIT 1";

/**
 * The ids of databases, by their bindings, that an account has by their names and the settings do not know. Ends the script
 * where one is not in the jurisdiction of the settings: it cannot be moved.
 */
export function find(wrangler, config, relay = {}) {
  const all = databases(config);
  const wanted = config.vars.JURISDICTION ?? "";
  if (all.every(isMade) && wanted === "") return {};
  const { output, failed } = wrangler("d1", "list", "--json");
  if (output === undefined) fail(`the D1 databases could not be listed: ${failed}`);
  const listed = JSON.parse(output);
  const there = all.map((one) => [one, listed.find(({ name, uuid }) => (isMade(one) ? uuid === one.database_id : name === one.database_name))]);
  for (const [{ database_name: name }, known] of there) {
    // Where Cloudflare does not tell it, nothing can be said.
    if (!known || !("jurisdiction" in known) || (known.jurisdiction ?? "") === wanted) continue;
    const is = known.jurisdiction ? `in the jurisdiction ${known.jurisdiction}` : "in no jurisdiction";
    const mend = known.jurisdiction ? `As it is: ${typed("deploy", `--jurisdiction ${known.jurisdiction}`)}` : `As it is: JURISDICTION = "" in ${relayFiles(relay).override}`;
    fail(`the D1 database ${name} is ${is}, and the relay is to be in ${wanted || "none"}. A database cannot be moved. Nothing was changed.\n  ${mend}. Else give it another database_name, and it begins without events.`);
  }
  return Object.fromEntries(there.filter(([one, known]) => known && !isMade(one)).map(([{ binding }, { uuid }]) => [binding, uuid]));
}

/** Where Cloudflare makes a D1 database, if that is said; an object with one may be elsewhere. */
export const LOCATIONS = ["wnam", "enam", "weur", "eeur", "apac", "oc"];
/** What Cloudflare keeps a D1 database and an object within: the European Union, the United States, what FedRAMP allows. */
export const JURISDICTIONS = ["eu", "us", "fedramp"];

/** Where databases are made by the settings, as wrangler is told. */
function whereMade({ vars: { JURISDICTION: jurisdiction, LOCATION: location } }) {
  if (jurisdiction) return ["--jurisdiction", jurisdiction];
  return LOCATIONS.includes(location) ? ["--location", location] : [];
}

/** Makes a database that is not there yet; its id. */
function make(wrangler, config, { database_name: name }) {
  const { output, failed } = wrangler("d1", "create", name, ...whereMade(config));
  return output?.match(UUID)?.[0] ?? fail(`the D1 database ${name} could not be created (${failed ?? output}).\n  By hand: ${typed("wrangler", `d1 create ${name}`)}`);
}

/** Why a database that is to be partition `own` of `count` cannot be it, or null; `way` is how to use it as what it is. */
function misplaced({ binding, database_name: name }, kept, { own, count }, way) {
  if (kept === undefined || (kept.own === own && kept.count === count)) return null;
  if (kept.count !== count) {
    const partitions = (n) => (n === 1 ? "1 partition" : `${n} partitions`);
    return `the D1 database ${name} has events of a relay with ${partitions(kept.count)}, and is to be used with ${count}. The number of partitions of a relay that has events cannot be changed yet: they would not be found any more. Nothing was changed.\n${way.partitions(kept.count)}`;
  }
  return `the D1 database ${name} has partition ${kept.own} of the relay, and is bound as partition ${own} (${binding}). Nothing was changed.\n  Give each binding of [[d1_databases]] in ${way.override} the database that it had.`;
}

/** What one database has: see `check`. */
async function checkOne(wrangler, where, one, place, way) {
  const { binding, database_name: name } = one;
  const ask = (...questions) => {
    const { output, failed } = wrangler("d1", "execute", binding, ...where, "--json", "--yes", "--command", questions.join("; "));
    if (output === undefined) fail(`the tables of the D1 database ${name} could not be read: ${failed}`);
    return JSON.parse(output).map(({ results }) => results);
  };
  const [rows] = ask(QUESTION);
  const differs = await difference(rows);
  // What has other tables is not asked what it has in them.
  const has = (table) => rows.some((row) => row.name === table && (differs === null || table === "d1_migrations"));
  const questions = [["d1_migrations", HAD], ["totals", VERSION], ["partitions", PLACE]].filter(([table]) => has(table));
  const answers = questions.length === 0 ? [] : ask(...questions.map(([, question]) => question));
  const [noted = [], versions = [], places = []] = ["d1_migrations", "totals", "partitions"].map((table) => answers[questions.findIndex(([asked]) => asked === table)]);
  const had = noted.map((row) => row.name);
  const known = migrations();
  const later = had.filter((file) => !known.includes(file));
  if (later.length > 0) {
    fail(`a later version has migrated the D1 database ${name} (${later.join(", ")}). It was not touched.\n  Deploy that version; docs/OPERATE.md, "Upgrading", says how to go back to this one.`);
  }
  if (differs !== null) fail(`the D1 database ${name} has the tables of another version (${differs}). It was not touched.\n${way.tables(one)}`);
  const kept = places[0] ?? (versions[0]?.version > 0 ? { own: 0, count: 1 } : undefined);
  const wrong = misplaced(one, kept, place, way);
  if (wrong !== null) fail(wrong);
  return { had, missing: known.filter((file) => !had.includes(file)), hasEvents: kept !== undefined };
}

/**
 * Ends the script when a database's tables are of another version, or it is another partition than it is used as. Else it
 * tells of each which migrations it has `had` and which it is `missing`, and whether it `hasEvents`. `where` is --remote or --local, with a folder; `way`
 * is what to do about other `tables` and another number of `partitions`, in the operator's file (`override`).
 */
export async function check(wrangler, where, config, way) {
  const all = databases(config);
  const found = [];
  for (const [own, one] of all.entries()) {
    const isThere = !where.includes("--remote") || isMade(one);
    const schema = isThere ? await checkOne(wrangler, where, one, { own, count: all.length }, way) : { had: [], missing: migrations(), hasEvents: false };
    found.push({ binding: one.binding, name: one.database_name, ...schema });
  }
  return found;
}

/**
 * How to bring a database back to what it is now, as `back`; `failed` is why it is not known. Nothing where no migration will
 * change what it has.
 */
export function bookmark(wrangler, { binding, had, missing }, { merged } = relayFiles()) {
  if (had.length === 0 || missing.length === 0) return {};
  const { output, failed } = wrangler("d1", "time-travel", "info", binding, "--json");
  if (output === undefined) return { failed };
  const [, mark] = /"bookmark": ?"([\w-]+)"/.exec(output) ?? [];
  if (mark === undefined) return { failed: `wrangler's answer was not understood: ${output}` };
  return { back: typed("wrangler", `d1 time-travel restore ${binding} --bookmark=${mark} --config ${merged}`) };
}

/** The commands that bring all databases back to what they are now; tells them. Ends the script where one is not to be had. */
export function bookmarks(wrangler, schemas, relay) {
  const marks = schemas.map((schema) => ({ ...schema, ...bookmark(wrangler, schema, relayFiles(relay)) }));
  const lost = marks.find(({ failed }) => failed);
  if (lost) {
    fail(`the bookmark of the D1 database ${lost.name}, to go back to should ${lost.missing.join(", ")} go wrong, could not be read: ${lost.failed}\n  Nothing was changed.`);
  }
  const back = marks.filter(({ back }) => back);
  if (back.length === 0) return undefined;
  const missing = [...new Set(back.flatMap(({ missing }) => missing))].join(", ");
  const commands = back.map(({ back }) => `    ${back}`).join("\n");
  say(`before ${missing}; what brings the database${back.length > 1 ? "s" : ""} back to now, without all that is stored from now on:\n${commands}`);
  return commands;
}

/** Applies to each database the migrations that it has not had; `perform` runs wrangler on the operator's terminal. */
export async function migrateAll(perform, config, more) {
  for (const { binding } of databases(config)) await perform(["d1", "migrations", "apply", binding, ...more]);
}

/** What to do about a database of the account that is not as it is used. */
function wayOf(relay) {
  const { override, merged } = relayFiles(relay);
  const deploy = (...options) => typed("deploy", ...(relay.env === undefined ? [] : ["--env", relay.env]), ...options);
  return {
    override,
    tables: ({ binding }) => `  Its events come into a new one like this (docs/OPERATE.md, "Upgrading", says what does not come along):
    ${typed("wrangler", `d1 export ${binding} --remote --output old.sql --config ${merged}`)}
    nexus export --filter '{}' --d1 old.sql > events.jsonl      (the native program)
    give [[d1_databases]] binding "${binding}" another database_name and no database_id in ${override}
    ${deploy()}
    publish events.jsonl there with any client, under a key of LISTED_KEYS`,
    partitions: (count) => `  As it is: ${deploy("--partitions", count)}`,
  };
}

/**
 * What is there of the databases of all partitions, once it is known that it fits; nothing is changed. `wrangler` asks the
 * account and gives the answer. `known` are those in the operator's file, `found` others that the account has by their names.
 */
export async function look({ wrangler, relay, name, vars }) {
  const wanted = await readConfig({ name, vars, ...relay });
  const known = databases(wanted).filter(isMade).map(({ binding }) => binding);
  const ids = find(wrangler, wanted, relay);
  const config = await configArguments({ name, vars, ids, ...relay });
  const there = await readConfig({ name, vars, ids, ...relay });
  const schemas = await check((...args) => wrangler(...args, ...config), ["--remote"], there, wayOf(relay));
  const state = ({ binding }) => (known.includes(binding) ? "known" : binding in ids ? "found" : "new");
  return { config, ids, schemas: schemas.map((schema) => ({ ...schema, state: state(schema) })) };
}

/** What is to be done to the databases, by what `look` found: a step each, in words for who is asked, with its `work`. */
export function databaseSteps({ config: { vars }, schemas, relay }) {
  const { override } = relayFiles(relay);
  const [, place] = whereMade({ vars });
  const where = vars.JURISDICTION ? `, which stays in the jurisdiction ${place}` : place ? ` in ${place}` : ", near you";
  const made = schemas.filter(({ state }) => state === "new");
  const found = schemas.filter(({ state }) => state === "found");
  const migrated = schemas.filter(({ missing }) => missing.length > 0);
  return {
    made: made.map(({ binding, name }) => ({ binding, text: `make the D1 database ${name}${where}` })),
    found: found.map(({ name, hasEvents }) => ({
      text: `use the D1 database ${name}, which the account has and ${override} does not name: it has ${hasEvents ? "the events of a relay" : "no events"}`,
      hasEvents,
    })),
    migrated: migrated.map(({ binding, name, had, missing }) => ({
      binding,
      text: had.length === 0 ? `make the tables of ${name}` : `change the tables of ${name}: ${missing.join(", ")}; how it goes back is told before`,
    })),
  };
}

/**
 * Makes the databases that are not there, keeps them, the Worker's `name` and the settings (`vars`) in the operator's file, and migrates all,
 * by what `look` found and `databaseSteps` says; done again it goes on where it failed. `step(text, work)` does one of these. `perform` has
 * wrangler do something and is told how that is mended. Gives wrangler's arguments, and how what comes next is mended.
 */
export async function prepare({ wrangler, perform, relay, name, vars, found: { ids: before, schemas }, steps, kept, step }) {
  const ids = { ...before };
  const config = await configArguments({ name, vars, ids, ...relay });
  const back = bookmarks((...args) => wrangler(...args, ...config), schemas, relay);
  const wanted = await readConfig({ name, vars, ids, ...relay });
  for (const { binding, text } of steps.made) {
    await step(text, () => (ids[binding] = make(wrangler, wanted, databases(wanted).find((one) => one.binding === binding))));
  }
  const made = databases(await readConfig({ name, vars, ids, ...relay })).filter(({ binding }) => binding in ids);
  if (kept !== null) await step(kept, () => keep({ name, vars, databases: made }, relay));
  await configArguments(relay);
  const mend = back && `docs/OPERATE.md, "Upgrading", says what to do. What brings back what was there, without all that was stored since:\n${back}`;
  for (const { binding, text } of steps.migrated) {
    await step(text, () => perform(["d1", "migrations", "apply", binding, "--remote", ...config], mend));
  }
  return { config, mend };
}
