// What wrangler is given: `wrangler.toml`, which is the project's, under `wrangler.override.toml`, which is the
// operator's and which git ignores. Both have wrangler's own form.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, fail } from "./run.mjs";

const TEMPLATE = "wrangler.toml";
export const OVERRIDE = "wrangler.override.toml";
/** Lies beside the two, as its paths are meant from there. */
export const MERGED = ".wrangler.merged.json";
const HEAD = `# What is yours: it goes over wrangler.toml, key by key, and git ignores it. \`npm run deploy\` keeps the
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

/** With a database for each partition: one that nobody has named is called as the first one, with its number. */
function withDatabases(config) {
  const count = countOf(config);
  if (count === undefined) fail(`PARTITIONS must be a whole number from 1 to ${PARTITIONS_MAX}, not "${config.vars.PARTITIONS}"`);
  if (isOwn(config)) {
    const left = config.d1_databases.find(isMade);
    if (left) {
      fail(`STORE is "object", and ${OVERRIDE} names the D1 database ${left.database_name}: what it has would not be found any more. Nothing was changed.\n  As it is: STORE = "d1". To begin without its events: remove [[d1_databases]] from ${OVERRIDE}.`);
    }
    return { ...config, d1_databases: [] };
  }
  const more = Array.from({ length: count - 1 }, (_, n) => {
    const { database_name: name, ...first } = database(config);
    const own = { ...first, binding: bindingOf(n + 1), database_name: `${name}-${n + 1}`, database_id: `${UNMADE}${`${n + 1}`.padStart(12, "0")}` };
    return merge(own, database(config, n + 1) ?? {});
  });
  return more.length === 0 ? config : { ...config, d1_databases: merge(config.d1_databases, more) };
}

/** Both files as one, under settings (`vars`) and ids of databases by their bindings that they do not have yet. */
export async function readConfig({ vars = {}, ids = {}, folder = ROOT } = {}) {
  const { parse } = await import("smol-toml"); // not there before set-up
  const [base, over] = [TEMPLATE, OVERRIDE].map((name) => {
    const file = join(folder, name);
    if (!existsSync(file)) return {};
    try {
      return parse(readFileSync(file, "utf8"));
    } catch (error) {
      return fail(`${name}: ${error.message}`);
    }
  });
  if ("env" in over) fail(`${OVERRIDE}: [env] is not supported; a second relay is a second checkout`);
  const config = withDatabases(merge(merge(base, over), { vars }));
  return merge(config, { d1_databases: Object.entries(ids).map(([binding, database_id]) => ({ binding, database_id })) });
}

/** Writes both files as one for wrangler; the arguments that name it. */
export async function configArguments(own = {}) {
  const file = join(own.folder ?? ROOT, MERGED);
  writeFileSync(file, `${JSON.stringify(await readConfig(own), null, 2)}\n`);
  return ["--config", file];
}

/** A line of a TOML file without what means nothing. */
const bare = (line) => line.replace(/#.*$/, "").replace(/\s+/g, "").replaceAll("'", '"');

/** Where a table is that begins with the first line of `head` and has the others: its first line, and the one after its last. */
function tableOf(lines, head) {
  const starts = lines.flatMap((line, n) => (line.trim().startsWith("[") ? [n] : []));
  const tables = starts.map((start, n) => ({ start, end: starts[n + 1] ?? lines.length }));
  const has = ({ start, end }, text) => lines.slice(start + 1, end).some((line) => bare(line) === bare(text));
  return tables.find((table) => bare(lines[table.start]).startsWith(bare(head[0])) && head.slice(1).every((text) => has(table, text)));
}

/** The text of a TOML file with a key of a table set. `head` begins the table where there is none. */
export function setKey(text, head, key, value) {
  const lines = text.replace(/\n*$/, "").split("\n");
  const line = `${key} = ${JSON.stringify(value)}`;
  const table = tableOf(lines, head);
  if (!table) return `${[...lines, "", ...head, line].join("\n").trimStart()}\n`;
  const at = lines.findIndex((text, n) => n > table.start && n < table.end && text.split("=")[0].trim() === key);
  if (at < 0) lines.splice(table.start + 1, 0, line);
  else lines[at] = line;
  return `${lines.join("\n")}\n`;
}

/** Keeps settings and `databases`, as they are in the settings, in the operator's file, beside what it has. */
export async function keep({ vars = {}, databases: made = [] }, folder = ROOT) {
  const file = join(folder, OVERRIDE);
  const before = existsSync(file) ? readFileSync(file, "utf8") : HEAD;
  let text = before;
  for (const [key, value] of Object.entries(vars)) text = setKey(text, ["[vars]"], key, value);
  for (const { binding, database_name: name, database_id: id } of made) {
    const set = (key, value) => (text = setKey(text, ["[[d1_databases]]", `binding = "${binding}"`], key, value));
    if (binding !== bindingOf(0)) set("database_name", name); // it does not change with that of the first
    set("database_id", id);
  }
  writeFileSync(file, text);
  const config = await readConfig({ folder });
  const isKept = (one) => config.d1_databases.find(({ binding }) => binding === one.binding)?.database_id === one.database_id;
  if (Object.entries(vars).every(([key, value]) => config.vars[key] === value) && made.every(isKept)) return;
  writeFileSync(file, before);
  const wanted = [
    ...Object.entries(vars).map(([key, value]) => `[vars] ${key} = "${value}"`),
    ...made.map((one) => `[[d1_databases]] binding = "${one.binding}", database_name = "${one.database_name}", database_id = "${one.database_id}"`),
  ];
  fail(`${OVERRIDE} could not be changed; write into it by hand: ${wanted.join(" and ")}`);
}
