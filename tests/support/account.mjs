// An account at Cloudflare as far as `npm run deploy` asks wrangler about its databases: each is a file of SQLite in a folder.
// Run with that folder and settings as JSON it does what a deploy does with them; FAIL is the beginning of a command that fails.
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { MERGED } from "../../scripts/config.mjs";
import { prepare } from "../../scripts/databases.mjs";
import { fail } from "../../scripts/run.mjs";
import { migrations } from "../../scripts/schema.mjs";

/** Wrangler on the account that a folder is; `asked` are the commands it was given. */
export function account(folder, failing) {
  const list = join(folder, "account.json");
  const all = () => (existsSync(list) ? JSON.parse(readFileSync(list, "utf8")) : []);
  const open = (binding) => {
    const { database_id: id } = JSON.parse(readFileSync(join(folder, MERGED), "utf8")).d1_databases.find((one) => one.binding === binding);
    if (!all().some(({ uuid }) => uuid === id)) throw new Error(`the account has no database ${id}`);
    return new DatabaseSync(join(folder, `${id}.sqlite`));
  };
  const within = (binding, work) => {
    const db = open(binding);
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  const asked = [];
  const commands = {
    list: () => JSON.stringify(all()),
    create: (name) => {
      if (all().some((one) => one.name === name)) throw new Error(`a database ${name} already exists`);
      const uuid = randomUUID();
      writeFileSync(list, JSON.stringify([...all(), { name, uuid }]));
      return `database_id = "${uuid}"`;
    },
    execute: (binding, ...args) =>
      within(binding, (db) => JSON.stringify(args[args.indexOf("--command") + 1].split("; ").map((sql) => ({ results: db.prepare(sql).all() })))),
    "time-travel": (_, binding) => within(binding, () => JSON.stringify({ bookmark: `mark-of-${binding}` })),
    migrations: (_, binding) =>
      within(binding, (db) => {
        db.exec("CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)");
        const had = db.prepare("SELECT name FROM d1_migrations").all().map(({ name }) => name);
        for (const name of migrations().filter((name) => !had.includes(name))) {
          db.exec(readFileSync(join("migrations", name), "utf8"));
          db.prepare("INSERT INTO d1_migrations (name) VALUES (?)").run(name);
        }
        return "";
      }),
  };
  const wrangler = (...args) => {
    const command = args.join(" ");
    asked.push(command);
    try {
      if (failing && command.startsWith(failing)) throw new Error("the network failed");
      return { output: commands[args[1]](...args.slice(2)) };
    } catch (error) {
      return { failed: error.message };
    }
  };
  return { wrangler, asked, within, all };
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const [folder, vars] = [process.argv[2], JSON.parse(process.argv[3])];
  mkdirSync(folder, { recursive: true });
  const { wrangler, asked } = account(folder, process.env.FAIL);
  process.on("exit", () => writeFileSync(join(folder, "asked.json"), JSON.stringify(asked)));
  const perform = async (args, mend) => {
    const { failed } = wrangler(...args);
    if (failed) fail(`wrangler ${args.join(" ")}: ${failed}${mend ? `\n  ${mend}` : ""}`);
  };
  await prepare({ wrangler, perform, vars, limits: async () => ({}), folder });
}
