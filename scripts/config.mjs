// What wrangler is given: `wrangler.toml`, which is the project's, under `wrangler.override.toml`, which is the
// operator's and which git ignores. Both have wrangler's own form.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FOLDER, ROOT, fail, typed } from "./run.mjs";
import { setKey } from "./toml.mjs";

const TEMPLATE = "wrangler.toml";

/**
 * A relay's files in the operator's `folder`: his own, and what it makes of the project's, which lies beside it as paths are
 * meant from there. A relay beside the first one has a name, `env`, and nothing of the first one's.
 */
export function relayFiles({ env, folder = FOLDER } = {}) {
  const mark = env === undefined ? "" : `.${env}`;
  return { folder, override: `wrangler.override${mark}.toml`, merged: `.wrangler.merged${mark}.json` };
}
export const { override: OVERRIDE, merged: MERGED } = relayFiles();

const HEAD = `# What is yours: it goes over the wrangler.toml of nexus-relay, key by key. \`${typed("deploy")}\` keeps the
# databases' ids and the relay's address here; name, account_id, routes and all [vars] may stand here, too.
`;

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Date);
const isBindings = (value) => Array.isArray(value) && value.every((entry) => isTable(entry) && typeof entry.binding === "string");

/** `over` goes over `base`: tables key by key, lists of bindings entry by entry, all else as a whole. */
export function merge(base, over) {
  if (isTable(base) && isTable(over)) {
    const keys = [...new Set([...Object.keys(base), ...Object.keys(over)])];
    return Object.fromEntries(keys.map((key) => [key, key in over ? merge(base[key], over[key]) : base[key]]));
  }
  if (isBindings(base) && isBindings(over)) {
    const others = over.filter(({ binding }) => !base.some((entry) => entry.binding === binding));
    return [...base.map((entry) => merge(entry, over.find(({ binding }) => binding === entry.binding) ?? {})), ...others];
  }
  return over;
}

/** Partitions that a relay can have: src/gateway/config.rs says it, too. */
export const PARTITIONS_MAX = 64;
/** The id of a database that is yet to be made begins so; a local one needs no other. */
const UNMADE = "00000000-0000-0000-0000-";

/** How many partitions a text means, or nothing where it means no such number. */
export const partitionsOf = (text) => (/^\d+$/.test(text) && text >= 1 && text <= PARTITIONS_MAX ? Number(text) : undefined);

/** The binding of a partition's database. */
const bindingOf = (partition) => (partition === 0 ? "DB" : `DB_${partition}`);

/** The D1 database of a partition: `binding`, `database_name`, `database_id`. */
export const database = (config, partition = 0) => config.d1_databases.find(({ binding }) => binding === bindingOf(partition));

/** How many partitions there are by the settings; nothing where these mean no such number. */
const countOf = (config) => partitionsOf(`${config.vars?.PARTITIONS ?? ""}`.trim() || "1");

/** Whether the databases are those of the objects themselves, which need nothing made. */
const isOwn = (config) => `${config.vars?.STORE ?? ""}`.trim() === "object";

/** The D1 databases of all partitions, in their order. */
export const databases = (config) => isOwn(config) ? [] : Array.from({ length: countOf(config) }, (_, n) => database(config, n));

/** Whether a database was made on an account. */
export const isMade = ({ database_id: id }) => !id.startsWith(UNMADE);

/** The id of a partition's database that was not made: each relay and each partition of one has its own, as local ones are told apart by it. */
function unmade(env, partition) {
  const relay = env === undefined ? "00000000" : createHash("sha256").update(env).digest("hex").slice(0, 8);
  return `${UNMADE}${relay}${`${partition}`.padStart(4, "0")}`;
}

/**
 * The project's settings as those of one relay: the paths in them lead to its files from the operator's folder, and what the
 * operator has not named is called as his Worker is. A database that he has and did not name is called as it always was.
 */
function templateOf(base, over, { env, folder }) {
  const at = (path) => (folder === ROOT ? path : join(ROOT, path));
  const name = env === undefined ? base.name : `${base.name}-${env}`;
  const [db] = base.d1_databases;
  const has = over.d1_databases?.some(({ binding, database_id: id }) => binding === db.binding && id !== undefined);
  const first = {
    ...db,
    database_name: has ? db.database_name : (over.name ?? name),
    database_id: unmade(env, 0),
    migrations_dir: at(db.migrations_dir),
  };
  return { ...base, name, main: at(base.main), assets: { ...base.assets, directory: at(base.assets.directory) }, d1_databases: [first] };
}

/** With a database for each partition: one that nobody has named is called as the first one, with its number. */
function withDatabases(config, { env, override }) {
  const count = countOf(config);
  if (count === undefined) fail(`PARTITIONS must be a whole number from 1 to ${PARTITIONS_MAX}, not "${config.vars.PARTITIONS}"`);
  if (isOwn(config)) {
    const left = config.d1_databases.find(isMade);
    if (left) {
      fail(`STORE is "object", and ${override} names the D1 database ${left.database_name}: what it has would not be found any more. Nothing was changed.\n  As it is: STORE = "d1". To begin without its events: remove [[d1_databases]] from ${override}.`);
    }
    return { ...config, d1_databases: [] };
  }
  const more = Array.from({ length: count - 1 }, (_, n) => {
    const { database_name: name, ...first } = database(config);
    const own = { ...first, binding: bindingOf(n + 1), database_name: `${name}-${n + 1}`, database_id: unmade(env, n + 1) };
    return merge(own, database(config, n + 1) ?? {});
  });
  return more.length === 0 ? config : { ...config, d1_databases: merge(config.d1_databases, more) };
}

/**
 * Both files as one, under a `name` of the Worker, settings (`vars`) and ids of databases by their bindings that they do not
 * have yet. `env` and `folder` say whose they are. On this machine (`local`) databases are the same before and after a deploy.
 */
export async function readConfig({ name, vars = {}, ids = {}, env, folder = FOLDER, local = false } = {}) {
  const { parse } = await import("smol-toml"); // not there before set-up
  const { override } = relayFiles({ env, folder });
  const parsed = (file) => {
    try {
      return parse(readFileSync(file, "utf8"));
    } catch (error) {
      return fail(`${file}: ${error.message}`);
    }
  };
  const file = join(folder, override);
  const over = { ...(existsSync(file) ? parsed(file) : {}), ...(name !== undefined && { name }) };
  if ("env" in over) fail(`${override}: [env] is not supported; a second relay has a file of its own: ${typed("deploy", "--env NAME")}`);
  const base = templateOf(parsed(join(ROOT, TEMPLATE)), over, { env, folder });
  const config = withDatabases(merge(merge(base, over), { vars }), { env, override });
  const here = local ? databases(config).map(({ binding }, n) => ({ binding, preview_database_id: unmade(env, n) })) : [];
  const made = Object.entries(ids).map(([binding, database_id]) => ({ binding, database_id }));
  return [made, here].reduce((all, some) => merge(all, { d1_databases: some }), config);
}

/** Writes both files as one for wrangler; the arguments that name it. */
export async function configArguments(own = {}) {
  const { folder, merged } = relayFiles(own);
  const file = join(folder, merged);
  writeFileSync(file, `${JSON.stringify(await readConfig(own), null, 2)}\n`);
  return ["--config", file];
}

/** Keeps the Worker's name, settings and `databases`, as they are in the settings, in the operator's file, beside what it has. */
export async function keep({ name, vars = {}, databases: made = [] }, relay = {}) {
  const { folder, override } = relayFiles(relay);
  const file = join(folder, override);
  const before = existsSync(file) ? readFileSync(file, "utf8") : HEAD;
  let text = before;
  if (name !== undefined) text = setKey(text, [], "name", name);
  for (const [key, value] of Object.entries(vars)) text = setKey(text, ["[vars]"], key, value);
  for (const { binding, database_name: called, database_id: id } of made) {
    const set = (key, value) => (text = setKey(text, ["[[d1_databases]]", `binding = "${binding}"`], key, value));
    if (called !== undefined) set("database_name", called); // it does not change with the Worker's, nor with that of the first
    set("database_id", id);
  }
  writeFileSync(file, text);
  const config = await readConfig(relay);
  const isKept = (one) => config.d1_databases.find(({ binding }) => binding === one.binding)?.database_id === one.database_id;
  const named = name === undefined || config.name === name;
  if (named && Object.entries(vars).every(([key, value]) => config.vars[key] === value) && made.every(isKept)) return;
  writeFileSync(file, before);
  const wanted = [
    ...(name === undefined ? [] : [`name = "${name}"`]),
    ...Object.entries(vars).map(([key, value]) => `[vars] ${key} = "${value}"`),
    ...made.map((one) => `[[d1_databases]] binding = "${one.binding}", database_name = "${one.database_name}", database_id = "${one.database_id}"`),
  ];
  fail(`${override} could not be changed; write into it by hand: ${wanted.join(" and ")}`);
}
