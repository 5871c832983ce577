// The conformance suite against the Worker, and that it covers what is advertised.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { runSuite } from "../conformance/run.mjs";
import { PARTITIONS, startRelay } from "../support/relay.mjs";

/** What is otherwise where there are several partitions: whose a result is that is in another one is not known (docs/market.md). */
const APART = /^fail NIP-32 reputation: a label on a result alone counts/;
const NIP11 = { headers: { Accept: "application/nostr+json" } };

/** Runs the suite; the table goes to the output, what did not pass is returned. */
async function run(relay, options) {
  const { rows, totals } = await runSuite(relay.ws, { relayUrl: "wss://nexus.example", ...options });
  for (const { nip, pass, fail, skip } of totals) console.log(`NIP-${nip}: ${pass} passed, ${fail} failed, ${skip} skipped`);
  return rows.filter(({ result }) => result !== "pass").map(({ nip, check, result, reason }) => `${result} NIP-${nip} ${check}: ${reason}`);
}

// Most of it is waiting for what should not come.
describe("the suite", { concurrency: true }, () => {
  for (const AUTH_REQUIRED of ["true", "false"]) {
    test(`the whole suite with AUTH_REQUIRED=${AUTH_REQUIRED}`, { timeout: 240_000 }, async () => {
      const relay = await startRelay({ vars: { AUTH_REQUIRED } });
      const left = await run(relay);
      // What needs proof of work to be demanded is the next test's, what needs AUTH to be the other run's.
      const elsewhere = AUTH_REQUIRED === "true" ? /^skip NIP-13 .*min_pow_difficulty is 0$/ : /^skip NIP-(13 .*min_pow_difficulty is 0$|42 .*AUTH is not required here)/;
      assert.deepEqual(left.filter((line) => !elsewhere.test(line) && !(PARTITIONS > 1 && APART.test(line))), []);
      await relay.stop();
    });
  }

  test("NIP-13 where proof of work is demanded", async () => {
    const relay = await startRelay({ vars: { MIN_POW_DIFFICULTY: "8" } });
    assert.deepEqual(await run(relay, { only: [13] }), []);
    await relay.stop();
  });
});

test("every advertised NIP has its file, and the README's table names it", async () => {
  const relay = await startRelay();
  const { supported_nips: advertised } = await (await fetch(relay.http, NIP11)).json();
  await relay.stop();
  const files = readdirSync("tests/conformance").map((name) => /^nip(\d\d)\.mjs$/.exec(name)?.[1]).filter(Boolean);
  assert.deepEqual(files.map(Number).sort((a, b) => a - b), advertised);
  const readme = readFileSync("README.md", "utf8");
  for (const nip of files) assert.match(readme, new RegExp(`^\\| \\[${nip}\\].*\`tests/conformance/nip${nip}\\.mjs\``, "m"));
});
