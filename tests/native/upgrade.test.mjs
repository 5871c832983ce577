// The way back after an upgrade, as docs/OPERATE.md has it: a backup.
import assert from "node:assert/strict";
import { readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RELEASES, kept, makeFile } from "../upgrade/kept.mjs";
import { VARS, answers, goOn } from "../upgrade/market.mjs";
import { folder, nexus, open } from "./support.mjs";

test("what a later version has written is refused as it is, and the copy made before is served in its place", { timeout: 60_000 }, async (t) => {
  const persist = folder(t);
  const [file, copy] = ["nexus.sqlite", "before.sqlite"].map((name) => join(persist, name));
  const env = { STORAGE_PATH: file };
  const release = RELEASES.at(-1);
  await makeFile(release, file);
  // A file that is yet to be upgraded is backed up as it is.
  const old = join(persist, "old.sqlite");
  const made = nexus(["backup", old], { env });
  assert.equal(made.code, 0, made.err);
  assert.match(nexus(["migrate"], { env: { STORAGE_PATH: old } }).out, /: [1-9]\d* migrations applied/);
  assert.match(nexus(["migrate"], { env }).out, /: [1-9]\d* migrations applied/);
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(file);
  assert.equal(nexus(["backup", copy], { env }).code, 0);
  const version = db.prepare("PRAGMA user_version").get().user_version;
  db.exec(`${readFileSync("tests/upgrade/0003_trial.sql", "utf8")}; PRAGMA user_version = ${version + 1}`);
  db.close();
  const later = readFileSync(file);
  for (const args of [[], ["migrate"]]) {
    const { code, err } = nexus(args, { env });
    assert.equal(code, 1);
    assert.match(err, new RegExp(`the file is of schema ${version + 1}, this nexus knows ${version}: it was written by a later one\\. Run that one, or serve the copy that was made before`));
  }
  assert.deepEqual(readFileSync(file), later);

  for (const ending of ["-wal", "-shm"]) rmSync(`${file}${ending}`, { force: true });
  renameSync(copy, file);
  const relay = await open({ persist, vars: VARS });
  const { told, said } = kept(release);
  assert.deepEqual(await answers(relay, told), said);
  await goOn(relay, told, assert);
  await relay.stop();
});
