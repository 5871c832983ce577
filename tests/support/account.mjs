// An account at Cloudflare as far as a deploy asks wrangler about it: each database is a file of SQLite in a folder, its Workers are a list.
// Run with that folder and the options of a deploy it deploys there. FAIL is the beginning of a command that fails; ANSWERS, a list, is
// what a person at the terminal answers, each after a question that has the words before it: [["plan", "free"], ["done?", "y"]];
// ACCOUNTS are those that he has.
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { MERGED } from "../../scripts/config.mjs";
import { deploy } from "../../scripts/deploy.mjs";
import { ROOT, fail } from "../../scripts/run.mjs";
import { migrations } from "../../scripts/schema.mjs";

/** The value behind an option. */
const behind = (args, option) => (args.includes(option) ? args[args.indexOf(option) + 1] : undefined);

/** Wrangler on the account that a folder is; `asked` are the commands it was given. */
export function account(folder, failing) {
  const [list, served] = ["account.json", "workers.json"].map((name) => join(folder, name));
  const all = () => (existsSync(list) ? JSON.parse(readFileSync(list, "utf8")) : []);
  const workers = () => (existsSync(served) ? JSON.parse(readFileSync(served, "utf8")) : {});
  const settings = (args) => JSON.parse(readFileSync(behind(args, "--config") ?? join(folder, MERGED), "utf8"));
  const open = (binding, args = []) => {
    const { database_id: id } = settings(args).d1_databases.find((one) => one.binding === binding);
    if (!all().some(({ uuid }) => uuid === id)) throw new Error(`the account has no database ${id}`);
    return new DatabaseSync(join(folder, `${id}.sqlite`));
  };
  const within = (binding, work, args) => {
    const db = open(binding, args);
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  const asked = [];
  const d1 = {
    list: () => JSON.stringify(all()),
    create: (name, ...args) => {
      if (all().some((one) => one.name === name)) throw new Error(`a database ${name} already exists`);
      const uuid = randomUUID();
      writeFileSync(list, JSON.stringify([...all(), { name, uuid, jurisdiction: behind(args, "--jurisdiction") ?? null }]));
      return `database_id = "${uuid}"`;
    },
    execute: (binding, ...args) =>
      within(binding, (db) => JSON.stringify(behind(args, "--command").split("; ").map((sql) => ({ results: db.prepare(sql).all() }))), args),
    "time-travel": (_, binding, ...args) => within(binding, () => JSON.stringify({ bookmark: `mark-of-${binding}` }), args),
    migrations: (_, binding, ...args) =>
      within(binding, (db) => {
        db.exec("CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)");
        const had = db.prepare("SELECT name FROM d1_migrations").all().map(({ name }) => name);
        for (const name of migrations().filter((name) => !had.includes(name))) {
          db.exec(readFileSync(join(ROOT, "migrations", name), "utf8"));
          db.prepare("INSERT INTO d1_migrations (name) VALUES (?)").run(name);
        }
        return "";
      }, args),
  };
  const commands = {
    whoami: () => JSON.stringify({ loggedIn: true, accounts: JSON.parse(process.env.ACCOUNTS ?? '[{ "id": "a1", "name": "Mine" }]') }),
    deployments: (_, ...args) => {
      if (!(behind(args, "--name") in workers())) throw new Error("This Worker does not exist on your account. [code: 10007]");
      return JSON.stringify({ versions: [{ version_id: "v", percentage: 100 }] });
    },
    versions: (_, ...args) => JSON.stringify({ resources: { bindings: [{ name: "RELAY_URL", text: workers()[behind(args, "--name")] }] } }),
    deploy: (...args) => {
      const { name, vars } = settings(args);
      writeFileSync(served, JSON.stringify({ ...workers(), [name]: vars.RELAY_URL }));
      return "";
    },
    d1: (command, ...args) => d1[command](...args),
  };
  const wrangler = (...args) => {
    const command = args.join(" ");
    asked.push(command);
    try {
      if (failing && command.startsWith(failing)) throw new Error("the network failed");
      const [first, ...rest] = args;
      return { output: commands[first](...rest) };
    } catch (error) {
      return { failed: error.message };
    }
  };
  return { wrangler, asked, within, all, workers };
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const [folder, ...args] = process.argv.slice(2);
  mkdirSync(folder, { recursive: true });
  const { wrangler, asked } = account(folder, process.env.FAIL);
  process.on("exit", () => writeFileSync(join(folder, "asked.json"), JSON.stringify(asked)));
  const answers = process.env.ANSWERS === undefined ? null : JSON.parse(process.env.ANSWERS);
  await deploy(args, {
    wrangler,
    perform: async (args, mend) => {
      const { failed } = wrangler(...args);
      if (failed) fail(`wrangler ${args.join(" ")}: ${failed}${mend ? `\n  ${mend}` : ""}`);
    },
    ready: () => {},
    isThere: answers !== null,
    ask: async (text) => {
      console.log(text);
      const [words, answer] = answers.shift() ?? fail(`nothing is answered to: ${text}`);
      return text.includes(words) ? answer : fail(`${words} was to be asked, and not: ${text}`);
    },
    folder,
  });
}
