// File descriptors that run out: connections are refused with a word, what is served goes on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { author, sleep, within } from "../support/relay.mjs";
import { client, folder, nexus, open, publish, reload, stored } from "./support.mjs";

const limited = (limits) => ({ under: ["prlimit", `--nofile=${limits}`] });

/** A connection that says nothing yet. */
const connected = (port) =>
  new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", reject);
  });

test("the limit of open files is raised, and connections leave some of it to the rest", { timeout: 120_000 }, async (t) => {
  const relay = await open(limited("100:200"));
  const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${relay.program.pid}/limits`, "utf8"));
  assert.deepEqual([soft, hard], ["200", "200"]);
  const max = Number(relay.lines.find(({ what }) => what === "listening").connections_max);
  assert.ok(max > 50 && max <= 136, `${max} connections`);
  const port = Number(new URL(relay.http).port);
  const [one, who] = [await client(relay), author()];
  const others = await Promise.all(Array.from({ length: max - 1 }, () => connected(port)));
  t.after(() => others.forEach((socket) => socket.destroy()));

  for (let n = 0; n < 3; n++) {
    const answer = await fetch(relay.http);
    assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "10"]);
    assert.match((await answer.json()).error, /no room for another connection/);
  }
  const told = () => relay.lines.filter(({ what }) => what?.startsWith("connections are refused"));
  assert.equal(told().length, 1, "it is told once in a while");
  assert.match(told()[0].mend, /LimitNOFILE/);
  const many = await Promise.all(Array.from({ length: 300 }, () => connected(port)));
  assert.deepEqual(relay.lines.filter(({ what }) => what === "a connection could not be accepted"), []);
  many.forEach((socket) => socket.destroy());
  assert.equal((await publish(one, who.sign({ content: "meanwhile" })))[2], true, "the database has its files");
  await reload(relay, "settings were read again");

  others.splice(0, 10).forEach((socket) => socket.destroy());
  const again = async () => {
    while ((await fetch(`${relay.http}/health`).catch(() => ({}))).status !== 200) await sleep(50);
    return true;
  };
  assert.ok(await within(20_000, again(), "room"));
  assert.equal((await stored(relay, { kinds: [1] })).length, 1);
  one.close();
  others.forEach((socket) => socket.destroy());
  await relay.stop();
});

test("a limit that leaves nothing for connections is named", (t) => {
  const { code, err } = nexus([], { ...limited("70:70"), env: { BIND: "127.0.0.1:0", STORAGE_PATH: join(folder(t), "nexus.sqlite") } });
  assert.equal(code, 1);
  assert.match(err, /^nexus: 70 files may be open at once, and \d+ are needed: raise the hard limit/m);
});
