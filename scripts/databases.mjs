// The relay's D1 databases, one for each partition: which are there, whether each is what it is used as, how one goes back.
import { MERGED, OVERRIDE, configArguments, databases, isMade, keep, readConfig } from "./config.mjs";
import { fail, say } from "./run.mjs";
import { HAD, QUESTION, difference, migrations } from "./schema.mjs";

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** How often a database was written to, and which partition of how many it says it is: src/store/map.rs keeps that. */
const VERSION = "SELECT version FROM totals";
const PLACE = "SELECT count, own FROM partitions ORDER BY version DESC LIMIT 1";

/** The ids of databases, by their bindings, that an account has by their names and the settings do not know. */
export function find(wrangler, config) {
  const unknown = databases(config).filter((one) => !isMade(one));
  if (unknown.length === 0) return {};
  const { output, failed } = wrangler("d1", "list", "--json");
  if (output === undefined) fail(`the D1 databases could not be listed: ${failed}`);
  const ids = new Map(JSON.parse(output).map(({ name, uuid }) => [name, uuid]));
  return Object.fromEntries(unknown.filter((one) => ids.has(one.database_name)).map((one) => [one.binding, ids.get(one.database_name)]));
}

/** Where Cloudflare makes a D1 database, if that is said; an object with one may be elsewhere. */
export const LOCATIONS = ["wnam", "enam", "weur", "eeur", "apac", "oc"];

/** Makes the databases that are not there yet; their ids by their bindings. */
export function make(wrangler, config) {
  const ids = {};
  const near = LOCATIONS.includes(config.vars.LOCATION) ? ["--location", config.vars.LOCATION] : [];
  for (const { binding, database_name: name } of databases(config).filter((one) => !isMade(one))) {
    say(`creating the D1 database ${name}`);
    const { output, failed } = wrangler("d1", "create", name, ...near);
    ids[binding] = output?.match(UUID)?.[0];
    if (ids[binding] === undefined) {
      fail(`the D1 database ${name} could not be created (${failed ?? output}); those before it are there, and are used when you run this again.\n  By hand: npx wrangler d1 create ${name}`);
    }
  }
  return ids;
}

/** Why a database that is to be partition `own` of `count` cannot be it, or null; `way` is how to use it as what it is. */
function misplaced({ binding, database_name: name }, kept, { own, count }, way) {
  if (kept === undefined || (kept.own === own && kept.count === count)) return null;
  if (kept.count !== count) {
    const partitions = (n) => (n === 1 ? "1 partition" : `${n} partitions`);
    return `the D1 database ${name} has events of a relay with ${partitions(kept.count)}, and is to be used with ${count}. The number of partitions of a relay that has events cannot be changed yet: they would not be found any more. Nothing was changed.\n${way.partitions(kept.count)}`;
  }
  return `the D1 database ${name} has partition ${kept.own} of the relay, and is bound as partition ${own} (${binding}). Nothing was changed.\n  Give each binding of [[d1_databases]] in ${OVERRIDE} the database that it had.`;
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
  return { had, missing: known.filter((file) => !had.includes(file)) };
}

/**
 * Ends the script when a database's tables are of another version, or it is another partition than it is used as. Else it
 * tells of each which migrations it has `had` and which it is `missing`. `where` is --remote or --local, with a folder; `way`
 * is what to do about other `tables` and another number of `partitions`.
 */
export async function check(wrangler, where, config, way) {
  const all = databases(config);
  const found = [];
  for (const [own, one] of all.entries()) {
    const isThere = !where.includes("--remote") || isMade(one);
    const schema = isThere ? await checkOne(wrangler, where, one, { own, count: all.length }, way) : { had: [], missing: migrations() };
    found.push({ binding: one.binding, name: one.database_name, ...schema });
  }
  return found;
}

/**
 * How to bring a database back to what it is now, as `back`; `failed` is why it is not known. Nothing where no migration will
 * change what it has.
 */
export function bookmark(wrangler, { binding, had, missing }) {
  if (had.length === 0 || missing.length === 0) return {};
  const { output, failed } = wrangler("d1", "time-travel", "info", binding, "--json");
  if (output === undefined) return { failed };
  const [, mark] = /"bookmark": ?"([\w-]+)"/.exec(output) ?? [];
  if (mark === undefined) return { failed: `wrangler's answer was not understood: ${output}` };
  return { back: `npx wrangler d1 time-travel restore ${binding} --bookmark=${mark} --config ${MERGED}` };
}

/** The commands that bring all databases back to what they are now; tells them. Ends the script where one is not to be had. */
export function bookmarks(wrangler, schemas) {
  const marks = schemas.map((schema) => ({ ...schema, ...bookmark(wrangler, schema) }));
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
const WAY = {
  tables: ({ binding }) => `  Its events come into a new one like this (docs/OPERATE.md, "Upgrading", says what does not come along):
    npx wrangler d1 export ${binding} --remote --output old.sql --config ${MERGED}
    nexus export --filter '{}' --d1 old.sql > events.jsonl      (the native program: npm run native)
    give [[d1_databases]] binding "${binding}" another database_name and no database_id in ${OVERRIDE}
    npm run deploy
    publish events.jsonl there with any client, under a key of LISTED_KEYS`,
  partitions: (count) => `  As it is: npm run deploy -- --partitions ${count}`,
};

/**
 * Makes the databases of all partitions that are not there, keeps them and the settings (`vars`, and what `limits` gives) in
 * the operator's file, and migrates all: once it is known that those which are there fit. Done again it goes on where it
 * failed. `wrangler` asks the account and gives the answer, `perform` has wrangler do something and is told how that is mended.
 * Gives wrangler's arguments, and how what comes next is mended.
 */
export async function prepare({ wrangler, perform, vars, limits, folder }) {
  const wanted = await readConfig({ vars, folder });
  const ids = find(wrangler, wanted);
  const names = databases(wanted).map((one) => one.database_name);
  if (names.length > 1) say(`the relay has ${names.length} partitions, each with a D1 database: ${names.join(", ")}`);
  const there = await readConfig({ vars, ids, folder });
  const config = await configArguments({ vars, ids, folder });
  const configured = (...args) => wrangler(...args, ...config);
  const back = bookmarks(configured, await check(configured, ["--remote"], there, WAY));
  const kept = { ...vars, ...(await limits()) };
  Object.assign(ids, make(wrangler, there));
  const made = databases(await readConfig({ vars, ids, folder })).filter(({ binding }) => binding in ids);
  await keep({ vars: kept, databases: made }, folder);
  const keys = [...Object.keys(kept), ...made.map((one) => `the id of ${one.database_name}`)];
  if (keys.length > 0) say(`${OVERRIDE} has ${keys.join(", ")}`);
  await configArguments({ folder });
  const mend = back && `docs/OPERATE.md, "Upgrading", says what to do. What brings back what was there, without all that was stored since:\n${back}`;
  await migrateAll((args) => perform(args, mend), await readConfig({ folder }), ["--remote", ...config]);
  return { config, mend };
}
