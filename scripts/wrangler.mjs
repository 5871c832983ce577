// The package's wrangler, on the relay's settings.
import { spawnSync } from "node:child_process";
import { configArguments } from "./config.mjs";
import { some } from "./options.mjs";
import { FOLDER, bin, fail } from "./run.mjs";

/** What needs no settings, and is done before there are any. */
const BEFORE = ["login", "logout", "whoami"];

export async function wrangler(args) {
  const { values, rest } = some(args, { config: { type: "string", short: "c" } });
  const given = values.config !== undefined || values.help || BEFORE.includes(rest[0]) || rest.length === 0;
  const more = [...(values.help ? ["--help"] : []), ...(given ? [] : await configArguments({ env: values.env }))];
  const { status, error } = spawnSync(bin("wrangler"), [...rest, ...more], { cwd: FOLDER, stdio: "inherit" });
  if (error) fail(`wrangler could not be started: ${error.message}`);
  process.exit(status ?? 1);
}
