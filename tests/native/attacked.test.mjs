// What one address does to the others at the native program, by the settings as they are when untouched.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { author, rawAgent, sleep } from "../support/relay.mjs";
import { folder, nexus, open } from "./support.mjs";

const untouched = (vars = {}) => open({ vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "true", GATEWAYS: 1, ...vars } });

/** Filters of every letter, the last of which does not match, and an event that all of them are compared with. */
function letters(who) {
  const all = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"].filter((letter) => !"epz".includes(letter));
  const filter = { ...Object.fromEntries(all.map((letter) => [`#${letter}`, ["x"]])), "#z": ["never", "ever"], limit: 0 };
  const filler = Array.from({ length: 1900 }, (_, n) => ["z", `${n}`]);
  return { filter, event: () => who.sign({ kind: 20_000, tags: [...filler, ...all.map((letter) => [letter, "x"])], content: `${Math.random()}` }) };
}

test("one event of many tags beside filters of many letters delays nobody", { timeout: 300_000 }, async (t) => {
  const relay = await untouched();
  t.after(() => relay.program.kill("SIGKILL"));
  const who = author();
  const { filter, event } = letters(who);
  const writer = await rawAgent(relay, who);
  let filters = 0;
  for (let n = 0; n < 3; n++) {
    const one = await rawAgent(relay);
    for (let sub = 0; sub < 10; sub++) {
      one.send(["REQ", `${sub}`, ...Array(15).fill(filter)]);
      const [verb] = await one.next();
      filters += verb === "EOSE" ? 15 : 0;
    }
  }
  // The same events alone: none of their tags is asked for.
  const took = async (events) => {
    const began = performance.now();
    for (const event of events) writer.send(["EVENT", event]);
    for (const _ of events) assert.equal((await writer.next(120_000))[0], "OK");
    return performance.now() - began;
  };
  const plain = await took(Array.from({ length: 5 }, () => who.sign({ kind: 20_000, tags: Array(1950).fill(["z", "x"]), content: `${Math.random()}` })));
  const compared = await took(Array.from({ length: 5 }, event));
  assert.ok(compared < 10 * plain, `${compared} ms instead of ${plain} ms for 5 events of one key beside ${filters} filters`);
});

test("connections that take no answers over HTTP leave others a place", { timeout: 180_000 }, async (t) => {
  const relay = await open({ vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "true", GATEWAYS: 1 }, under: ["prlimit", "--nofile=300:300"] });
  t.after(() => relay.program.kill("SIGKILL"));
  const { hostname, port } = new URL(relay.http);
  // Over a connection of its own.
  const health = () =>
    new Promise((resolve) => get(`${relay.http}/health`, { agent: false }, (answer) => resolve(answer.resume().statusCode)).on("error", ({ message }) => resolve(message)));
  assert.equal(await health(), 200);
  // What needs no engine is counted by nobody.
  const requests = "GET / HTTP/1.1\r\nHost: x\r\nAccept: application/nostr+json\r\n\r\n".repeat(4000);
  const held = [];
  for (let n = 0; n < 300; n++) {
    const socket = connect({ port: Number(port), host: hostname, localAddress: "127.0.0.2" }, () => socket.pause().write(requests));
    held.push(socket.on("error", () => {}));
    await sleep(5);
  }
  await sleep(45_000);
  const status = await health();
  const files = readdirSync(`/proc/${relay.program.pid}/fd`).length;
  for (const socket of held) socket.destroy();
  assert.equal(status, 200, `${files} files are open after 45 s, of ${held.length} connections of another address`);
});

test("connections of one address that do not read leave the machine its memory", { timeout: 180_000 }, async (t) => {
  const relay = await untouched();
  t.after(() => relay.program.kill("SIGKILL"));
  const rss = () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${relay.program.pid}/status`, "utf8"))[1]) / 1000;
  const readers = [];
  for (let n = 0; n < 30; n++) {
    let one;
    for (;;) {
      try {
        one = await rawAgent(relay);
        break;
      } catch {
        await sleep(250);
      }
    }
    one.send(["REQ", `mine ${n}`, { kinds: [20_000], limit: 0 }]);
    await one.next();
    one.socket._socket.pause();
    readers.push(one);
  }
  const before = rss();
  const writers = [];
  for (let n = 0; n < 5; n++) {
    const who = author();
    writers.push([who, await rawAgent(relay, who)]);
  }
  let most = 0;
  for (let n = 0; n < 330; n++) {
    const [who, writer] = writers[n % writers.length];
    writer.send(["EVENT", who.sign({ kind: 20_000, content: "x".repeat(100_000) + n })]);
    await writer.next(60_000);
    most = Math.max(most, rss());
  }
  assert.ok(most - before < 400, `${most - before} MB for ${readers.length} connections of one address`);
});

test("what a question has the database look at is paid", { timeout: 120_000 }, async (t) => {
  const into = folder(t);
  const who = author();
  const events = Array.from({ length: 3000 }, (_, n) => JSON.stringify(who.sign({ tags: [["t", "popular"]], content: `${n}` })));
  writeFileSync(join(into, "events.jsonl"), events.join("\n"));
  const imported = nexus(["import", join(into, "events.jsonl")], { env: { STORAGE_PATH: join(into, "nexus.sqlite") } });
  assert.equal(imported.code, 0, imported.err);
  const agent = "events 20/200 queries 1/200 bytes 262144/8388608";
  const relay = await open({ persist: into, vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "true", GATEWAYS: 1, RATE_AGENT: agent } });
  t.after(() => relay.program.kill("SIGKILL"));
  const one = await rawAgent(relay);
  // 3,000 entries each: on D1 three tokens more, which are owed, of 200 at once and one a second.
  const asked = 120;
  for (let n = 0; n < asked; n++) one.send(["COUNT", `${n}`, { "#t": ["popular"] }]);
  let counted = 0;
  for (let n = 0; n < asked; n++) counted += (await one.next(60_000))[0] === "COUNT" ? 1 : 0;
  assert.ok(counted < asked, `${counted} of ${asked} COUNTs of one key were answered, ${3000 * counted} entries`);
});

test("four addresses that do not read leave others room for questions", { timeout: 120_000 }, async (t) => {
  const into = folder(t);
  const who = author();
  const events = Array.from({ length: 60 }, (_, n) => JSON.stringify(who.sign({ tags: [["t", "popular"]], content: `${n}${"x".repeat(90_000)}` })));
  writeFileSync(join(into, "events.jsonl"), events.join("\n"));
  const imported = nexus(["import", join(into, "events.jsonl")], { env: { STORAGE_PATH: join(into, "nexus.sqlite") } });
  assert.equal(imported.code, 0, imported.err);
  const relay = await open({ persist: into, vars: { RATE_LIMITS: "on", AUTH_REQUIRED: "true", GATEWAYS: 1 } });
  t.after(() => relay.program.kill("SIGKILL"));
  const honest = await rawAgent(relay);
  const values = (count, length) => ({ "#t": Array.from({ length: count }, (_, n) => `${n}`.padStart(length, "0")) });
  const count = (name, filter) => JSON.stringify(["COUNT", name, filter]);
  const held = [];
  for (let n = 0; n < 60; n++) {
    const one = await rawAgent(relay, author(), { localAddress: `127.0.0.${2 + (n % 4)}` });
    one.socket._socket.pause();
    // Three times 4 MB that it does not take, and behind them COUNTs, from large to small, until there is no room.
    for (const name of ["a", "b", "c"]) one.send(["REQ", name, { kinds: [1] }]);
    for (let m = 0; m < 17 && n < 40; m++) one.send(count(`large ${m}`, values(1000, 64)));
    for (let m = 0; m < 20 && n < 40; m++) one.send(count(`middle ${m}`, values(100, 64)));
    for (let length = n < 40 ? 12_500 : 3_000; length > 0; length -= n < 40 ? 120 : 30) one.send(count(`${length}`, values(1, length)));
    held.push(one);
  }
  await sleep(3000);
  const said = [];
  for (let second = 0; second < 10; second++) {
    honest.send(["COUNT", `${second}`, { kinds: [5050], "#t": ["job"] }]);
    said.push((await honest.next())[2]);
    await sleep(100);
  }
  for (const one of held) one.socket.terminate();
  assert.ok(said.every((said) => typeof said !== "string"), said.find((said) => typeof said === "string"));
});
