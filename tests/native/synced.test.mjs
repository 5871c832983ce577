// What is acknowledged has been handed to the disk: the syncs of a running relay, counted by strace.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { debian } from "../../scripts/setup.mjs";
import { author, within } from "../support/relay.mjs";
import { cannot, client, folder, open, publish } from "./support.mjs";

test("each event's commit is synced before its OK", { timeout: 240_000 }, async (t) => {
  const missing = await debian("strace");
  if (missing) return cannot(t, missing);
  const persist = folder(t);
  const traced = join(persist, "trace");
  const relay = await open({ persist });
  const [one, who] = [await client(relay), author()];
  // The first one sets up what the later ones find.
  assert.equal((await publish(one, who.sign({ content: "first" })))[2], true);
  const strace = spawn("strace", ["-f", "-y", "-e", "trace=fsync,fdatasync", "-o", traced, "-p", `${relay.program.pid}`]);
  let said = "";
  const attached = new Promise((resolve) => strace.stderr.on("data", (data) => ((said += data), /attached/.test(said) && resolve(true))));
  const ended = once(strace, "exit").then(() => false);
  if (!(await within(20_000, Promise.race([attached, ended]), "strace"))) {
    await relay.stop();
    return cannot(t, `strace may not trace here: ${said}`);
  }
  const syncs = () => (readFileSync(traced, "utf8").match(/(fsync|fdatasync)\(\d+<[^>]*nexus\.sqlite-wal>/g) ?? []).length;
  for (let n = 1; n <= 20; n++) {
    assert.equal((await publish(one, who.sign({ content: `${n}` })))[2], true);
    // One after the other: each is a commit of its own.
    assert.ok(syncs() >= n, `${syncs()} syncs when event ${n} was acknowledged`);
  }
  strace.kill("SIGTERM");
  await ended;
  one.close();
  await relay.stop();
});
