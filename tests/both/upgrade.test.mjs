// What each release has written is upgraded as an operator upgrades it, and answers as it did; then it goes on. With the
// next release a line is added to migrations/shipped.json, and its database is kept: tests/upgrade/kept.mjs.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NATIVE, OWN_STORE, startRelay } from "../support/relay.mjs";
import { RELEASES, kept, localD1, makeD1, makeFile, ownOf } from "../upgrade/kept.mjs";
import { VARS, answers, goOn } from "../upgrade/market.mjs";

/** Those releases have one partition. */
const vars = { ...VARS, PARTITIONS: 1 };

/** A database of a release in a folder of its own, which this version's relay then finds: natively, and in an object, it upgrades it itself. */
async function upgraded(t, release) {
  if (NATIVE || OWN_STORE) {
    const folder = mkdtempSync(join(tmpdir(), "nexus-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    if (NATIVE) await makeFile(release, join(folder, "nexus.sqlite"));
    return folder;
  }
  const d1 = localD1(t);
  makeD1(release, d1);
  const { output, failed } = d1.apply(readdirSync("migrations").filter((name) => name.endsWith(".sql")));
  assert.ok(output, failed);
  return d1.persist;
}

for (const release of RELEASES) {
  test(`a database of ${release} is upgraded, answers as before byte for byte, and goes on`, { timeout: 120_000 }, async (t) => {
    const persist = await upgraded(t, release);
    const { told, said } = kept(release);
    assert.ok(Object.values(said).flat().filter((text) => /^\["EVENT"/.test(text)).length > 200);
    const first = await startRelay({ vars, persist, migrate: false, ...(OWN_STORE && { before: ownOf(release) }) });
    assert.equal((await fetch(`${first.http}/health`)).status, 200);
    assert.deepEqual(await answers(first, told), said);
    await goOn(first, told, assert);
    await first.stop();
    const second = await startRelay({ vars, persist, migrate: false });
    assert.equal((await second.stats()).events.stored, said.counts.stored + 2);
    await second.stop();
  });
}
