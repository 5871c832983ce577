// A deploy of a folder that is an operator's, to the account that is beside it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OVERRIDE } from "../../scripts/config.mjs";

/** An operator's folder, with this as his file. */
export function folder(t, own) {
  const path = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(path, { recursive: true }));
  if (own !== undefined) writeFileSync(join(path, OVERRIDE), own);
  return path;
}

/** The operator's file. */
export const own = (path, name = OVERRIDE) => readFileSync(join(path, name), "utf8");

/**
 * Deploys a folder with options. What begins with `failing` fails; with `answers` somebody is at the terminal. It says what it
 * `asked` the account, and what of that `changed` something.
 */
export function deploys(path, args = [], { failing = "", answers, accounts } = {}) {
  const env = { ...process.env, FAIL: failing, ...(answers && { ANSWERS: JSON.stringify(answers) }), ...(accounts && { ACCOUNTS: JSON.stringify(accounts) }) };
  const { status, stdout, stderr } = spawnSync(process.execPath, ["tests/support/account.mjs", path, ...args], { encoding: "utf8", env });
  const asked = JSON.parse(readFileSync(join(path, "asked.json"), "utf8")).map((command) => command.replace(/ --config .*/, ""));
  return { status, stdout, stderr, asked, changed: asked.filter((command) => /^(d1 (create|migrations)|deploy$)/.test(command)) };
}
