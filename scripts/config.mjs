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
# database's id and the relay's address here; name, account_id, routes and all [vars] may stand here, too.
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

/** Both files as one. */
export async function readConfig(folder = ROOT) {
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
  return merge(base, over);
}

/** The D1 database that holds the events: `database_name`, `database_id`. */
export const database = (config) => config.d1_databases.find(({ binding }) => binding === "DB");

/** Writes both files as one for wrangler; the arguments that name it. */
export async function configArguments(folder = ROOT) {
  const file = join(folder, MERGED);
  writeFileSync(file, `${JSON.stringify(await readConfig(folder), null, 2)}\n`);
  return ["--config", file];
}

/** The text of a TOML file with a key of a table set. `head` begins the table where there is none. */
export function setKey(text, head, key, value) {
  const lines = text.replace(/\n*$/, "").split("\n");
  const line = `${key} = ${JSON.stringify(value)}`;
  const start = lines.findIndex((text) => text.trim().startsWith(head[0]));
  if (start < 0) return `${[...lines, "", ...head, line].join("\n").trimStart()}\n`;
  const next = lines.findIndex((text, n) => n > start && text.trim().startsWith("["));
  const end = next < 0 ? lines.length : next;
  const at = lines.findIndex((text, n) => n > start && n < end && text.split("=")[0].trim() === key);
  if (at < 0) lines.splice(start + 1, 0, line);
  else lines[at] = line;
  return `${lines.join("\n")}\n`;
}

/** Keeps settings or the database's id in the operator's file, beside what it has. */
export async function keep({ vars = {}, id }, folder = ROOT) {
  const file = join(folder, OVERRIDE);
  const before = existsSync(file) ? readFileSync(file, "utf8") : HEAD;
  let text = before;
  for (const [key, value] of Object.entries(vars)) text = setKey(text, ["[vars]"], key, value);
  if (id !== undefined) text = setKey(text, ["[[d1_databases]]", 'binding = "DB"'], "database_id", id);
  writeFileSync(file, text);
  const config = await readConfig(folder);
  const missed =
    Object.entries(vars).some(([key, value]) => config.vars[key] !== value) || (id !== undefined && database(config).database_id !== id);
  if (!missed) return;
  writeFileSync(file, before);
  const wanted = [...Object.entries(vars).map(([key, value]) => `[vars] ${key} = "${value}"`), id && `[[d1_databases]] binding = "DB", database_id = "${id}"`];
  fail(`${OVERRIDE} could not be changed; write into it by hand: ${wanted.filter(Boolean).join(" and ")}`);
}
