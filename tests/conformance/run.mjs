// The conformance suite at any relay: node tests/conformance/run.mjs ws://… [options]
//
//   --only 01,09        these NIPs alone
//   --relay-url wss://… what the relay calls itself, for AUTH and vanish requests; default: the URL
//   --all               check NIPs that the relay does not advertise, too
//   --strict            count a skipped check as a failed one
//   --json              one JSON object instead of the table
import { readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";
import { isSkip, relayAt } from "./context.mjs";

/** A check that takes longer has failed, in milliseconds. */
const TIMEOUT = 120_000;
const two = (nip) => String(nip).padStart(2, "0");

/** One check: `{ nip, check, result, reason, ms }`. */
async function runCheck(nip, { name, run }, relay) {
  const context = relay.forCheck();
  const start = Date.now();
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not done after ${TIMEOUT / 1000} s`)), TIMEOUT)));
  const outcome = await Promise.race([run(context), late]).then(
    () => ({ result: "pass", reason: "" }),
    (error) => ({ result: isSkip(error) ? "skip" : "fail", reason: error.message || String(error) }),
  );
  clearTimeout(timer);
  context.end();
  return { nip, check: name, ...outcome, ms: Date.now() - start };
}

/** Runs the suite; `report` gets every row as it is known. */
export async function runSuite(url, { only = [], relayUrl, all = false, report = () => {} } = {}) {
  const relay = await relayAt(url, relayUrl);
  const files = readdirSync(new URL(".", import.meta.url)).filter((file) => /^nip\d\d\.mjs$/.test(file)).sort();
  const modules = await Promise.all(files.map((file) => import(new URL(file, import.meta.url))));
  const unknown = only.filter((nip) => !modules.some((module) => module.nip === nip));
  if (unknown.length > 0) throw new Error(`no checks of NIP ${unknown.map(two).join(", ")}`);
  const rows = [];
  for (const { nip, checks, alsoAdvertisedAs = [] } of modules) {
    if (only.length > 0 && !only.includes(nip)) continue;
    // NIP-01 is mandatory, and a document is what NIP-11 is: neither needs to be advertised.
    const due = all || nip === 1 || nip === 11 || [nip, ...alsoAdvertisedAs].some(relay.advertises);
    for (const check of checks) {
      const skipped = { nip, check: check.name, result: "skip", reason: `NIP-${two(nip)} is not advertised`, ms: 0 };
      const row = due ? await runCheck(nip, check, relay) : skipped;
      rows.push(row);
      report(row);
    }
  }
  return { url, name: relay.document.name ?? "", version: relay.document.version ?? "", rows, totals: totals(rows) };
}

/** `{ nip, pass, fail, skip }` for each NIP. */
function totals(rows) {
  const nips = [...new Set(rows.map(({ nip }) => nip))];
  const number = (nip, result) => rows.filter((row) => row.nip === nip && row.result === result).length;
  return nips.map((nip) => ({ nip, pass: number(nip, "pass"), fail: number(nip, "fail"), skip: number(nip, "skip") }));
}

const line = (nip, result, check, reason) => `${nip.padEnd(4)} ${result.padEnd(5)} ${check.padEnd(84)} ${reason}`.trimEnd();

const USAGE = "usage: node tests/conformance/run.mjs ws://… [--only 01,09] [--relay-url wss://…] [--all] [--strict] [--json]";

async function main() {
  const [text, flag] = [{ type: "string" }, { type: "boolean" }];
  const options = { only: text, "relay-url": text, all: flag, strict: flag, json: flag };
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  const [url] = positionals;
  if (!/^wss?:\/\//.test(url ?? "")) throw new Error(USAGE);
  const only = values.only ? values.only.split(",").map(Number) : [];
  const report = values.json ? undefined : (row) => console.log(line(two(row.nip), row.result, row.check, row.reason.replace(/\s*\n\s*/g, " ")));
  if (report) console.log(line("NIP", "", "check", "reason"));
  const outcome = await runSuite(url, { only, relayUrl: values["relay-url"], all: values.all, report });
  if (values.json) console.log(JSON.stringify(outcome, null, 2));
  else {
    console.log(`\n${outcome.name} ${outcome.version} at ${url}\n\nNIP  pass fail skip`);
    for (const { nip, pass, fail, skip } of outcome.totals) {
      console.log(`${two(nip)} ${[pass, fail, skip].map((n) => String(n).padStart(5)).join("")}`);
    }
  }
  const bad = outcome.rows.filter(({ result }) => result === "fail" || (values.strict && result === "skip"));
  // Sockets that a relay does not close must not keep the process.
  process.exitCode = bad.length > 0 ? 1 : 0;
  setTimeout(() => process.exit(), 1000).unref();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(2);
  });
}
