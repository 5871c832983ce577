// Many sockets, slow ones, broken ones, TLS, and addresses behind a proxy.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { author, rawClient, reports, seconds, sleep, within } from "../support/relay.mjs";
import { client, folder, open, publish, reload } from "./support.mjs";

const MANY = 2000;

test(`${MANY} connections at once all hear of one event, on either gateway`, { timeout: 120_000 }, async () => {
  const relay = await open();
  const clients = [];
  for (let n = 0; n < MANY; n += 100) clients.push(...(await Promise.all(Array.from({ length: 100 }, () => client(relay)))));
  for (const one of clients) one.send(["REQ", "s", { kinds: [5050] }]);
  for (const one of clients) assert.equal((await one.next())[0], "EOSE");
  await reports(relay, ({ connections, subscriptions }) => [connections.open, subscriptions], [MANY, MANY]);
  const event = author().sign({ kind: 5050 });
  clients[0].send(["EVENT", event]);
  for (const [n, one] of clients.entries()) {
    const frames = [await one.next(), ...(n === 0 ? [await one.next()] : [])];
    assert.ok(frames.some((frame) => frame[0] === "EVENT" && frame[2].id === event.id));
  }
  for (const one of clients) one.socket.terminate();
  await reports(relay, ({ connections }) => connections.open, 0);
  await relay.stop();
});

test("who does not read is closed and delays nobody", { timeout: 120_000 }, async () => {
  const relay = await open({ vars: { MAX_UNHEARD_BYTES: 10_000_000 } });
  const [slow, fast, writer, who] = [await client(relay), await client(relay), await client(relay), author()];
  for (const one of [slow, fast]) {
    one.send(["REQ", "all", { kinds: [1] }]);
    assert.equal((await one.next())[0], "EOSE");
  }
  slow.socket._socket.pause();
  // The sockets on the way take some of it: 23 MB.
  for (let n = 0; n < 260; n++) {
    const event = who.sign({ content: `${n} ${"x".repeat(90_000)}` });
    assert.equal((await publish(writer, event))[2], true);
    assert.equal((await fast.next())[2].id, event.id);
    fast.send(["CLOSE", "nothing"]); // it says something now and then
  }
  await reports(relay, ({ connections }) => connections.open, 2);
  for (const one of [slow, fast, writer]) one.socket.terminate();
  await relay.stop();
});

const rss = (relay) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${relay.program.pid}/status`, "utf8"))[1]) * 1000;

test("who asks and does not read costs bounded memory and is ended", { timeout: 60_000 }, async () => {
  const bound = 10_000_000;
  const relay = await open({ vars: { MAX_UNHEARD_BYTES: bound, GATEWAYS: 1 } });
  const [writer, slow, who] = [await client(relay), await client(relay), author()];
  for (let n = 0; n < 30; n++) assert.equal((await publish(writer, who.sign({ content: `${n} ${"x".repeat(60_000)}` })))[2], true);
  const before = rss(relay);
  slow.socket._socket.pause();
  let [most, asked] = [0, 0];
  // 1.8 MB each, 360 MB in all; who is ended asks in vain.
  for (; asked < 200; asked++) {
    slow.socket.send(JSON.stringify(["REQ", `${asked % 10}`, { kinds: [1] }]), () => {});
    await sleep(10);
    most = Math.max(most, rss(relay) - before);
  }
  assert.ok(most < 8 * bound, `grew by ${most} bytes`);
  // Live events go on for who is not read from; then it is ended.
  for (let n = 0; n < 200; n++) await publish(writer, who.sign({ content: `live ${n} ${"x".repeat(60_000)}` }));
  await reports(relay, ({ connections }) => connections.open, 1);
  for (const one of [slow, writer]) one.socket.terminate();
  await relay.stop();
});

/** Says something over a bare socket; what comes back until it closes, or some time has passed. */
async function say(relay, bytes, ms = 1500) {
  const { hostname, port } = new URL(relay.http);
  const socket = connect(Number(port), hostname);
  let heard = "";
  socket.on("data", (data) => (heard += data.toString("latin1"))).on("error", () => {});
  const closed = new Promise((resolve) => socket.on("close", () => resolve(true)));
  socket.write(bytes);
  const ended = await Promise.race([closed, sleep(ms)]);
  socket.destroy();
  return { heard, ended: ended === true };
}

const UPGRADE = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/** The frames of a server in what was heard after its handshake: texts, parsed, and the code of a close. */
function heardFrames(heard) {
  const bytes = Buffer.from(heard, "latin1").subarray(heard.indexOf("\r\n\r\n") + 4);
  const frames = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    let [opcode, length] = [bytes[at] & 15, bytes[at + 1]];
    at += 2;
    if (length === 126) [length, at] = [bytes.readUInt16BE(at), at + 2];
    const payload = bytes.subarray(at, at + length);
    at += length;
    frames.push(opcode === 8 ? payload.readUInt16BE(0) : JSON.parse(payload));
  }
  return frames;
}

/** A text frame of a client, by a mask of zeros. */
function masked(text) {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x81, 0xfe, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]), payload]);
}

test("what cannot be read is answered after all that came before it", { timeout: 60_000 }, async () => {
  const relay = await open({ vars: { GATEWAYS: 1 } });
  const who = author();
  for (const [code, broken] of [
    [1002, [0x83, 0x80, 0, 0, 0, 0]],
    [1007, [0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]],
    [1009, [0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]],
  ]) {
    // Versions of one event with deletions between them: each waits for the commit of the one before.
    const sorts = [{ kind: 0 }, { kind: 5, tags: [["a", `0:${who.pubkey}:`]] }];
    const at = seconds() - 2000 + (code % 100) * 100;
    const events = Array.from({ length: 8 }, (_, n) => who.sign({ ...sorts[n % 2], content: `${code} ${n}`, created_at: at + n }));
    const texts = events.map((event) => masked(JSON.stringify(["EVENT", event])));
    const { heard, ended } = await say(relay, Buffer.concat([Buffer.from(UPGRADE), ...texts, Buffer.from(broken)]), 10_000);
    assert.ok(ended);
    const [auth, ...frames] = heardFrames(heard);
    assert.equal(auth[0], "AUTH");
    assert.deepEqual(frames, [...events.map(({ id }) => ["OK", id, true, ""]), code]);
  }
  await relay.stop();
});

test("several lines of a header are one list", async () => {
  const relay = await open();
  const lines = UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade").replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: nostr\r\n\r\n");
  for (const handshake of [lines, lines.replace("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: WebSocket")]) {
    const { heard } = await say(relay, handshake, 500);
    assert.match(heard, /^HTTP\/1\.1 101/);
    assert.match(heard, /\r\nsec-websocket-protocol: nostr\r\n/i);
  }
  const { heard } = await say(relay, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\nAccept: application/nostr+json\r\nConnection: close\r\n\r\n", 1000);
  assert.match(heard, /^HTTP\/1\.1 200/);
  await relay.stop();
});

test("malformed HTTP and WebSocket frames end their own connection alone", { timeout: 60_000 }, async () => {
  const relay = await open();
  const witness = await client(relay);
  for (const bytes of ["\x16\x03\x01\x02\x00\x01\x00", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(500)}\r\n`, `GET /${"x".repeat(1_000_000)} HTTP/1.1\r\n\r\n`]) {
    const { heard, ended } = await say(relay, Buffer.from(bytes, "latin1"));
    assert.ok(ended, bytes.slice(0, 30));
    assert.ok(heard === "" || /^HTTP\/1\.1 4\d\d/.test(heard), heard.slice(0, 60));
  }
  const frames = {
    "unmasked": [0x81, 0x02, 0x7b, 0x7d],
    "reserved opcode": [0x83, 0x80, 0, 0, 0, 0],
    "reserved bit": [0xc1, 0x80, 0, 0, 0, 0],
    "a ping of 126 bytes": [0x89, 0xfe, 0, 126, 0, 0, 0, 0, ...Array(126).fill(0)],
    "a continuation of nothing": [0x80, 0x80, 0, 0, 0, 0],
    "text that is no UTF-8": [0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28],
    "a length of 2^63": [0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  };
  const codes = { "text that is no UTF-8": 1007, "a length of 2^63": 1009 };
  for (const [what, bytes] of Object.entries(frames)) {
    const { heard, ended } = await say(relay, Buffer.concat([Buffer.from(UPGRADE), Buffer.from(bytes)]), 5000);
    assert.match(heard, /^HTTP\/1\.1 101/, what);
    assert.ok(ended, what);
    assert.equal(heardFrames(heard).at(-1), codes[what] ?? 1002, what);
  }
  // Cut off in the middle of the handshake, and of a frame.
  assert.equal((await say(relay, UPGRADE.slice(0, 40), 100)).ended, false);
  assert.equal((await say(relay, Buffer.concat([Buffer.from(UPGRADE), Buffer.from([0x81, 0xfe, 0x10])]), 100)).ended, false);
  const event = author().sign({});
  assert.deepEqual(await publish(witness, event), ["OK", event.id, true, ""]);
  await reports(relay, ({ connections }) => connections.open, 1);
  assert.deepEqual(relay.lines.filter((line) => line.level !== "info"), []);
  witness.close();
  await relay.stop();
});

const TLS = "tests/native/tls";
const CERT = `${TLS}/cert.pem`;

test("TLS from files; without TLS nothing is understood there", async () => {
  const relay = await open({ vars: { TLS_CERT: CERT, TLS_KEY: `${TLS}/key.pem` } });
  const url = relay.ws.replace("ws://127.0.0.1", "wss://localhost");
  const one = await rawClient(url, { ca: readFileSync(CERT) });
  await one.next();
  const event = author().sign({});
  assert.deepEqual(await publish(one, event), ["OK", event.id, true, ""]);
  one.close();
  await within(5000, one.ended, "close");
  assert.ok((await say(relay, "GET / HTTP/1.1\r\n\r\n")).ended);
  await relay.stop();
});

test("SIGHUP reads the TLS files again; what is connected stays", async (t) => {
  const here = folder(t);
  const [cert, key] = [join(here, "cert.pem"), join(here, "key.pem")];
  const place = (pair) => {
    copyFileSync(`${TLS}/${pair}cert.pem`, cert);
    copyFileSync(`${TLS}/${pair}key.pem`, key);
  };
  place("");
  const relay = await open({ vars: { TLS_CERT: cert, TLS_KEY: key } });
  const url = relay.ws.replace("ws://127.0.0.1", "wss://localhost");
  const trusting = (pair) => rawClient(url, { ca: readFileSync(`${TLS}/${pair}cert.pem`) });
  const before = await trusting("");
  await before.next();
  place("renewed-");
  await reload(relay, "settings were read again");
  await assert.rejects(trusting(""), /certificate/);
  const after = await trusting("renewed-");
  await after.next();
  writeFileSync(key, "no key");
  assert.match((await reload(relay, "settings stay as they are")).error, /key\.pem: no private key in PEM form/);
  for (const one of [before, await trusting("renewed-")]) {
    assert.equal((await publish(one, author().sign({})))[2], true);
    one.close();
  }
  after.close();
  await relay.stop();
});

test("addresses are the proxy's word if it is trusted", async () => {
  // One gateway, as connections through a proxy are spread over all.
  const vars = { RATE_LIMITS: "on", MAX_CONNECTIONS_PER_IP: 2, GATEWAYS: 1 };
  const from = (ip) => ({ headers: { "X-Forwarded-For": `10.0.0.1, ${ip}` } });
  const trusting = await open({ vars: { ...vars, FORWARDED_HEADER: "X-Forwarded-For" } });
  const some = [await client(trusting, from("192.0.2.1")), await client(trusting, from("192.0.2.1")), await client(trusting, from("192.0.2.2"))];
  await assert.rejects(client(trusting, from("192.0.2.1")), /429/);
  const alone = await open({ vars });
  some.push(await client(alone, from("192.0.2.1")), await client(alone, from("192.0.2.2")));
  await assert.rejects(client(alone, from("192.0.2.3")), /429/);
  for (const one of some) one.close();
  await trusting.stop();
  await alone.stop();

  // Every way to write an address is that address; the last line's last counts; what is none is the peer's.
  const says = (value) => ({ headers: { "X-Forwarded-For": value } });
  const exact = await open({ vars: { ...vars, FORWARDED_HEADER: "X-Forwarded-For" } });
  for (const [same, other] of [
    [["192.0.2.1:4711", "192.0.2.1", ["192.0.2.9", "192.0.2.1:1"]], "192.0.2.2"],
    [["[2001:db8::1]:443", "2001:db8::2", "[2001:db8::3]"], "2001:db8:0:1::1"],
    [["nobody", "unknown", "999.1.1.1"], "192.0.2.3"],
  ]) {
    const two = [await client(exact, says(same[0])), await client(exact, says(same[1]))];
    await assert.rejects(client(exact, says(same[2])), /429/, `${same[2]}`);
    two.push(await client(exact, says(other)));
    for (const one of two) one.close();
  }
  await exact.stop();
  // Who is no proxy of the operator's is counted by his own address.
  const far = await open({ vars: { ...vars, FORWARDED_HEADER: "X-Forwarded-For", TRUSTED_PROXIES: "10.0.0.0/8" } });
  const both = [await client(far, from("192.0.2.1")), await client(far, from("192.0.2.2"))];
  await assert.rejects(client(far, from("192.0.2.3")), /429/);
  for (const one of both) one.close();
  await far.stop();
});
