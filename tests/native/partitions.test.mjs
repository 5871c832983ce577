// Files of several partitions: who uses one as another one is told so before anything is served, read or made.
import assert from "node:assert/strict";
import { copyFileSync, existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { author } from "../support/relay.mjs";
import { client, folder, nexus, open, publish, reload, stored } from "./support.mjs";

/** A folder with the files of so many partitions, of which those of these numbers have a job. */
async function filled(t, partitions, filled = Array.from({ length: partitions }, (_, n) => n)) {
  const persist = folder(t);
  const relay = await open({ persist, vars: { PARTITIONS: partitions } });
  const one = await client(relay);
  const [customer, left] = [author(), new Set(filled)];
  for (let n = 0; left.size > 0; n++) {
    const job = customer.sign({ kind: 5050, content: `${n}` });
    if (left.delete(Buffer.from(job.id, "hex").readUInt32LE(28) % partitions)) assert.equal((await publish(one, job))[2], true);
  }
  one.close();
  await relay.stop();
  return persist;
}

/** What the program says that is to use these files, and the files it leaves. */
function run(persist, partitions, ...args) {
  const env = { STORAGE_PATH: join(persist, "nexus.sqlite"), BIND: "127.0.0.1:0", PARTITIONS: `${partitions}` };
  const { code, err } = nexus(args, { env, timeout: 10_000 });
  return [code, err.trim(), readdirSync(persist).filter((name) => name.endsWith(".sqlite")).sort().join(" ")];
}

test("another number of partitions than the files have is refused at once, and no file is made", { timeout: 120_000 }, async (t) => {
  for (const [had, wanted] of [[1, 4], [2, 1], [2, 4], [4, 2]]) {
    const persist = await filled(t, had);
    const before = readdirSync(persist).filter((name) => name.endsWith(".sqlite")).sort().join(" ");
    const lines = join(persist, "lines.jsonl");
    copyFileSync("README.md", lines);
    for (const args of [[], ["import", lines], ["export"], ["migrate"]]) {
      const [code, err, files] = run(persist, wanted, ...args);
      assert.equal(code, 1, `${had} to ${wanted}: ${args}: ${err}`);
      assert.match(err, new RegExp(`nexus(-\\d)?\\.sqlite: the database has partition (\\d) of ${had}, and is used as partition \\2 of ${wanted}: PARTITIONS must be ${had}`));
      assert.equal(files, before, args.join());
    }
    const relay = await open({ persist, vars: { PARTITIONS: had } });
    assert.equal((await fetch(`${relay.http}/health`)).status, 200, "it is as it was");
    await relay.stop();
  }
});

test("fewer partitions are refused though the first ones have nothing yet", { timeout: 60_000 }, async (t) => {
  for (const wanted of [1, 2]) {
    const persist = await filled(t, 4, [3]);
    for (const args of [[], ["export"], ["migrate"]]) {
      const [code, err] = run(persist, wanted, ...args);
      assert.equal(code, 1, args.join());
      assert.match(err, new RegExp(`nexus-3\\.sqlite: the database has partition 3 of 4, and is used as partition 3 of ${wanted}: PARTITIONS must be 4`));
    }
  }
});

test("files that were swapped are refused by name", { timeout: 60_000 }, async (t) => {
  const persist = await filled(t, 2);
  const [home, other, aside] = ["nexus.sqlite", "nexus-1.sqlite", "aside"].map((name) => join(persist, name));
  renameSync(home, aside);
  renameSync(other, home);
  renameSync(aside, other);
  for (const args of [[], ["export"]]) {
    const [code, err] = run(persist, 2, ...args);
    assert.equal(code, 1);
    assert.match(err, /nexus\.sqlite: the database has partition 1 of 2, and is used as partition 0 of 2: .*each partition needs its own database/);
  }
});

test("settings that are read again leave the number of partitions as it is", { timeout: 60_000 }, async (t) => {
  const persist = folder(t);
  const { writeFileSync } = await import("node:fs");
  const file = join(persist, "nexus.toml");
  const settings = (partitions) => writeFileSync(file, `[server]\nurl = "wss://nexus.example"\n[storage]\npartitions = ${partitions}\n`);
  settings(2);
  const relay = await open({ persist, config: file, vars: { PARTITIONS: "" } });
  settings(4);
  await reload(relay, "settings were read again");
  const one = await client(relay);
  const customer = author();
  const jobs = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => customer.sign({ kind: 5050, content: `${n}` }));
  for (const job of jobs) assert.equal((await publish(one, job))[2], true);
  one.close();
  await relay.stop();
  assert.equal(existsSync(join(persist, "nexus-2.sqlite")), false);
  const again = await open({ persist, vars: { PARTITIONS: 2 } });
  assert.equal((await stored(again, { kinds: [5050] })).length, jobs.length);
  await again.stop();
});
