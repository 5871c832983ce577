// A disk that is full, and a file that may not be written to: errors that say so, and recovery.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, renameSync, rmSync, statSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { author, sleep } from "../support/relay.mjs";
import { cannot, client, folder, nexus, open, publish, stored } from "./support.mjs";

/** A small file system in memory, or why there is none. */
function small(t, size = "4m") {
  const path = mkdtempSync(join(tmpdir(), "nexus-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path], { encoding: "utf8" });
  t.after(() => {
    spawnSync("umount", ["--lazy", path]);
    rmSync(path, { recursive: true, force: true });
  });
  return mounted.status === 0 ? { path } : { missing: `a small file system needs root: ${mounted.stderr ?? mounted.error}` };
}

test("while the disk is full events get error:, afterwards all works", async (t) => {
  const { path: persist, missing } = small(t);
  if (missing) return cannot(t, missing);
  const relay = await open({ persist });
  const [one, who] = [await client(relay), author()];
  const kept = who.sign({ content: "before" });
  assert.equal((await publish(one, kept))[2], true);
  const ballast = join(persist, "ballast");
  const { bavail, bsize } = statfsSync(persist);
  writeFileSync(ballast, Buffer.alloc(bavail * bsize));
  const refused = who.sign({ content: "x".repeat(50_000) });
  const [, , accepted, reason] = await publish(one, refused, 30_000);
  assert.equal(accepted, false);
  assert.match(reason, /^error: the event could not be stored: (the relay's database is full; it takes deletion requests alone|disk I\/O error.*; publish it again)$/);
  assert.deepEqual((await stored(relay, { kinds: [1] })).map(({ id }) => id), [kept.id]);
  rmSync(ballast);
  // It is tried again a few seconds later.
  await sleep(5000);
  assert.equal((await publish(one, refused, 30_000))[2], true);
  assert.equal((await stored(relay, { kinds: [1] })).length, 2);
  one.close();
  await relay.stop();
});

test("of a small disk most is for events, and SQLite's log gives its room back", { timeout: 120_000 }, async (t) => {
  const { path: persist, missing } = small(t, "40m");
  if (missing) return cannot(t, missing);
  const relay = await open({ persist });
  const clients = await Promise.all(Array.from({ length: 4 }, () => client(relay)));
  const content = "x".repeat(5000);
  let [events, refusal] = [0, ""];
  const fill = async (one) => {
    const who = author();
    while (!refusal) {
      const some = Array.from({ length: 100 }, (_, n) => who.sign({ content: `${events} ${n} ${content}` }));
      some.forEach((event) => one.send(["EVENT", event]));
      for (const _ of some) {
        const [, , accepted, reason] = await one.next(30_000);
        if (accepted) events++;
        else refusal ||= reason;
      }
    }
  };
  await Promise.all(clients.map(fill));
  assert.equal(refusal, "error: the event could not be stored: the relay's database is full; it takes deletion requests alone");
  assert.ok(events * content.length > 20 * 2 ** 20, `${events} events`);
  assert.equal((await relay.stats()).events.stored, events);
  assert.equal(spawnSync("mount", ["-o", "remount,size=60m", persist]).status, 0);
  // It is tried again a few seconds later.
  await sleep(6000);
  const more = 50;
  for (let n = 0; n < more; n++) {
    assert.equal((await publish(clients[0], author().sign({ content: `${n} ${content}` }), 30_000))[2], true);
  }
  clients.forEach((one) => one.close());
  await relay.stop();
  const again = await open({ persist });
  assert.equal((await again.stats()).events.stored, events + more);
  await again.stop();
});

test("what is in SQLite's log when another one takes the rest of the disk is moved when there is room", { timeout: 60_000 }, async (t) => {
  const { path: persist, missing } = small(t);
  if (missing) return cannot(t, missing);
  const relay = await open({ persist });
  const [one, who] = [await client(relay), author()];
  const { bavail, bsize } = statfsSync(persist);
  writeFileSync(join(persist, "ballast"), Buffer.alloc(bavail * bsize - 200_000));
  let events = 0;
  while ((await publish(one, who.sign({ content: `${events}` }), 30_000))[2]) events++;
  const bytes = () => statSync(join(persist, "nexus.sqlite")).size;
  const before = bytes();
  assert.equal(spawnSync("mount", ["-o", "remount,size=6m", persist]).status, 0);
  await sleep(6000);
  for (let n = 0; n < 100; n++) assert.equal((await publish(one, who.sign({ content: `more ${n}` }), 30_000))[2], true);
  assert.ok(bytes() > before, `${bytes()} bytes`);
  one.close();
  await relay.stop();
  const again = await open({ persist });
  assert.equal((await again.stats()).events.stored, events + 100);
  await again.stop();
});

test("files that become read-only while it runs: events get error:, questions are answered, afterwards all works", async (t) => {
  const persist = mkdtempSync(join(tmpdir(), "nexus-"));
  const files = ["nexus.sqlite", "nexus.sqlite-wal"].map((name) => join(persist, name));
  const make = (how) => spawnSync("chattr", [how, ...files], { encoding: "utf8" });
  t.after(() => {
    make("-i");
    rmSync(persist, { recursive: true, force: true });
  });
  const relay = await open({ persist });
  const [one, who] = [await client(relay), author()];
  const kept = who.sign({ content: "before" });
  assert.equal((await publish(one, kept))[2], true);
  const { status, stderr, error } = make("+i");
  if (status !== 0) {
    await relay.stop();
    return cannot(t, `files cannot be made immutable here: ${stderr ?? error}`);
  }
  const refused = who.sign({ content: "meanwhile" });
  const [, , accepted, reason] = await publish(one, refused, 30_000);
  assert.equal(accepted, false);
  assert.match(reason, /^error: the event could not be stored: .*; publish it again$/);
  assert.deepEqual((await stored(relay, { kinds: [1] })).map(({ id }) => id), [kept.id]);
  assert.equal((await relay.stats()).events.stored, 1);
  make("-i");
  assert.equal((await publish(one, refused, 30_000))[2], true);
  assert.equal((await stored(relay, { kinds: [1] })).length, 2);
  one.close();
  await relay.stop();
});

for (const name of ["nexus.sqlite", "nexus.sqlite-wal"]) {
  test(`while ${name} is not in its place no event is accepted: it would be gone after the next start`, async (t) => {
    const persist = folder(t);
    const relay = await open({ persist });
    const [one, who] = [await client(relay), author()];
    assert.equal((await publish(one, who.sign({ content: "before" })))[2], true);
    const [place, elsewhere] = [join(persist, name), join(persist, "elsewhere")];
    renameSync(place, elsewhere);
    const [removed, replaced] = [who.sign({ content: "removed" }), who.sign({ content: "replaced" })];
    assert.match((await publish(one, removed, 30_000))[3], /^error: the event could not be stored: nexus.sqlite.* was removed while the relay runs; publish it again$/);
    copyFileSync(elsewhere, place);
    assert.match((await publish(one, replaced, 30_000))[3], /^error: the event could not be stored: nexus.sqlite.* was replaced while the relay runs; publish it again$/);
    renameSync(elsewhere, place);
    for (const event of [removed, replaced]) assert.equal((await publish(one, event, 30_000))[2], true);
    one.close();
    await relay.stop();
    const again = await open({ persist });
    assert.equal((await stored(again, { kinds: [1] })).length, 3);
    await again.stop();
  });
}

test("a file that may not be written to is named, and nothing is served", async (t) => {
  const { path: persist, missing } = small(t);
  if (missing) return cannot(t, missing);
  const first = await open({ persist });
  const [one, who] = [await client(first), author()];
  assert.equal((await publish(one, who.sign({})))[2], true);
  one.close();
  await first.stop();
  const remount = (how) => assert.equal(spawnSync("mount", ["-o", `remount,${how}`, persist]).status, 0);
  remount("ro");
  const path = join(persist, "nexus.sqlite");
  const { code, err } = nexus([], { env: { STORAGE_PATH: path } });
  assert.equal(code, 1);
  assert.match(err, new RegExp(`^nexus: ${path}.*: Read-only file system`));
  remount("rw");
  const second = await open({ persist });
  assert.equal((await stored(second, { kinds: [1] })).length, 1);
  await second.stop();
});
