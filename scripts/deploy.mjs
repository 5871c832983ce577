// `npm run deploy`: puts the relay on your Cloudflare account.
//
//   npm run deploy -- --url wss://relay.example.com   the first time, or to change the address
//   npm run deploy                                    afterwards
//   npm run deploy -- --dry-run                       builds and checks, touches no account
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, bin, fail, read, run, say } from "./run.mjs";
import { build, checkSize } from "./build.mjs";
import { setup } from "./setup.mjs";

const FILE = join(ROOT, "wrangler.toml");
const NO_DATABASE = "00000000-0000-0000-0000-000000000000";
const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

const args = process.argv.slice(2);
const dryRun = args.includes("--dry-run");
const urlAt = args.indexOf("--url");
const url = urlAt < 0 ? undefined : args[urlAt + 1];

/** The value of a key in wrangler.toml. */
function setting(key) {
  return readFileSync(FILE, "utf8").match(new RegExp(`^${key} = "([^"]*)"`, "m"))?.[1];
}

function change(key, value) {
  const text = readFileSync(FILE, "utf8");
  writeFileSync(FILE, text.replace(new RegExp(`^(${key} = )"[^"]*"`, "m"), `$1"${value}"`));
  say(`wrangler.toml: ${key} = "${value}"`);
}

function address() {
  if (url !== undefined) {
    if (!/^wss:\/\/[^\s/]+/.test(url ?? "")) fail(`--url takes the wss:// address of the relay, not ${JSON.stringify(url)}`);
    change("RELAY_URL", url);
  }
  if (!setting("RELAY_URL")) {
    fail(
      `The relay must know its address, because clients sign it when they authenticate.\n` +
        `  npm run deploy -- --url wss://${setting("name")}.YOUR-SUBDOMAIN.workers.dev\n` +
        `  YOUR-SUBDOMAIN is shown in the Cloudflare dashboard under Workers & Pages; a custom domain works as well.`,
    );
  }
}

function database() {
  if (setting("database_id") !== NO_DATABASE) return;
  const name = setting("database_name");
  const existing = JSON.parse(read(bin("wrangler"), "d1", "list", "--json") ?? "[]").find((db) => db.name === name)?.uuid;
  if (!existing) say(`creating the D1 database ${name}`);
  const id = existing ?? read(bin("wrangler"), "d1", "create", name)?.match(UUID)?.[0];
  if (!id) fail(`the D1 database could not be created; try: npx wrangler d1 create ${name}, and put its id into wrangler.toml`);
  change("database_id", id);
}

await setup();
await build();
checkSize();
if (dryRun) {
  await run(bin("wrangler"), ["deploy", "--dry-run", "--outdir", "test-output/deploy"]);
  say("a dry run: nothing was deployed");
} else {
  if (read(bin("wrangler"), "whoami")?.includes("You are logged in") !== true) {
    fail("not logged in to Cloudflare. Run: npx wrangler login (or set CLOUDFLARE_API_TOKEN)");
  }
  address();
  database();
  await run(bin("wrangler"), ["d1", "migrations", "apply", "DB", "--remote"], { env: { CI: "1" } });
  await run(bin("wrangler"), ["deploy"]);
  const http = setting("RELAY_URL").split(/[\s,]/)[0].replace(/^ws/, "http");
  console.log(`\n  Deployed.\n\n  Relay   ${setting("RELAY_URL")}\n  HUD     ${http}\n  Health  ${http.replace(/\/$/, "")}/health\n`);
}
