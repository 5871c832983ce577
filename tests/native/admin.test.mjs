// `nexus admin`: what it sends, checked to the letter by a server that is nobody's relay, what it makes of answers, and relays of
// both hosts.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { test } from "node:test";
import { neventEncode, noteEncode, nprofileEncode, npubEncode, nsecEncode } from "nostr-tools/nip19";
import { verifyEvent } from "nostr-tools/pure";
import { PROGRAM, start as startNative } from "../support/native.mjs";
import { SETTINGS, author, rawAgent, reachable, seconds, within } from "../support/relay.mjs";
import { start as startWorker } from "../support/worker.mjs";
import { folder } from "./support.mjs";

const owner = author();
const HEX = Buffer.from(owner.secret).toString("hex");
const ENV = { NEXUS_ADMIN_KEY: nsecEncode(owner.secret) };
const somebody = author().pubkey;
const TLS = "tests/native/tls";

/** Runs it beside the server of this process; what it says and ends with. */
async function admin(args, env = ENV) {
  const child = spawn(PROGRAM, ["admin", ...args], { env: { PATH: process.env.PATH, ...env } });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  const [code] = await once(child, "close");
  return { code, out, err };
}

/** A server that answers with what `say` gives for a request's body, and keeps each request that it was sent. */
async function server(t, say, tls) {
  const asked = [];
  const answer = (request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part)).on("end", () => {
      const body = `${Buffer.concat(parts)}`;
      asked.push({ method: request.method, path: request.url, headers: request.headers, body });
      const { status = 200, headers = {}, ...rest } = say(JSON.parse(body));
      response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(rest.text ?? JSON.stringify(rest));
    });
  };
  const listens = tls ? createSecureServer(tls, answer) : createServer(answer);
  listens.listen(0, "127.0.0.1");
  await once(listens, "listening");
  t.after(() => listens.close());
  const { port } = listens.address();
  return { asked, port, relay: `${tls ? "wss" : "ws"}://127.0.0.1:${port}` };
}

/** Fails unless a request is one of NIP-86 with a proof of NIP-98 that holds for it alone. */
function check({ method, headers, body }, url) {
  assert.equal(method, "POST");
  assert.equal(headers["content-type"], "application/nostr+json+rpc");
  assert.match(headers["user-agent"], /^nexus\/\d/);
  const { method: asked, params, ...rest } = JSON.parse(body);
  assert.ok(typeof asked === "string" && Array.isArray(params));
  assert.deepEqual(rest, {});
  const [scheme, proof] = headers.authorization.split(" ");
  assert.equal(scheme, "Nostr");
  assert.match(proof, /^[A-Za-z0-9+/]+={0,2}$/);
  const event = JSON.parse(Buffer.from(proof, "base64"));
  assert.ok(verifyEvent(event), "its id and its signature hold");
  assert.deepEqual([event.kind, event.content, event.pubkey], [27235, "", owner.pubkey]);
  assert.ok(Math.abs(event.created_at - seconds()) <= 10);
  const tags = Object.fromEntries(event.tags);
  assert.deepEqual([tags.u, tags.method], [url, "POST"]);
  assert.equal(tags.payload, createHash("sha256").update(body).digest("hex"));
  return event;
}

test("a request is that of NIP-86, with a proof that a relay takes once", async (t) => {
  const { asked, port, relay } = await server(t, ({ method, params }) => (method === "supportedmethods" ? { result: ["banpubkey", "unbanpubkey"] } : { result: true, error: null, params }));
  const run = (...args) => admin(["--relay", relay, ...args]);
  assert.deepEqual(await run("supportedmethods"), { code: 0, out: "banpubkey\nunbanpubkey\n", err: "" });
  assert.deepEqual(await run("banpubkey", npubEncode(somebody), "it's \"spam\" ü"), { code: 0, out: "done\n", err: "" });
  const event = "ab".repeat(32);
  const same = [
    ["banpubkey", [somebody], [somebody]],
    ["unbanpubkey", [nprofileEncode({ pubkey: somebody, relays: ["wss://a.example"] })], [somebody]],
    ["banevent", [noteEncode(event), "why"], [event, "why"]],
    ["allowevent", [neventEncode({ id: event, relays: ["wss://a.example"], author: somebody })], [event]],
    ["disallowkind", ["4"], [4]],
    ["blockip", ["2001:db8::/32", "17"], ["2001:db8::/32", "17"]],
    ["changerelayname", ["--", "-Mine-"], ["-Mine-"]],
    ["setmode", ["members"], ["members"]],
    ["setmode", ["--raw", `["${npubEncode(somebody)}",{"a":null}]`], [npubEncode(somebody), { a: null }]],
  ];
  for (const [method, given, sent] of same) {
    assert.equal((await run(method, ...given)).code, 0, method);
    const { method: name, params } = JSON.parse(asked.at(-1).body);
    assert.deepEqual([name, params], [method, sent]);
  }
  const proofs = asked.map((request) => check(request, `http://127.0.0.1:${port}/`));
  await Promise.all([run("supportedmethods"), run("supportedmethods")]);
  const ids = new Set([...proofs, ...asked.slice(-2).map((request) => check(request, `http://127.0.0.1:${port}/`))].map(({ id }) => id));
  assert.equal(ids.size, proofs.length + 2, "the same asked twice in a second is proven twice");
  assert.equal((await admin(["--relay", `http://127.0.0.1:${port}/relay?x=1`, "listbannedpubkeys"])).code, 0);
  assert.equal(asked.at(-1).path, "/relay?x=1");
  check(asked.at(-1), `http://127.0.0.1:${port}/relay?x=1`);
});

test("over TLS the certificate has to be one that is trusted, for that name", async (t) => {
  const read = (name) => readFileSync(`${TLS}/${name}.pem`);
  const { asked, port } = await server(t, () => ({ result: true }), { cert: read("issued-cert"), key: read("issued-key") });
  const ca = ["--ca", `${TLS}/authority.pem`];
  const ask = (host, more) => admin(["--relay", `wss://${host}:${port}`, ...more, "banpubkey", somebody]);
  assert.deepEqual(await ask("localhost", ca), { code: 0, out: "done\n", err: "" });
  check(asked[0], `https://localhost:${port}/`);
  const stranger = await ask("localhost", []);
  assert.equal(stranger.code, 3);
  assert.match(stranger.err, /^nexus: https:\/\/localhost:\d+\/: .*certificate/i);
  const other = await ask("127.0.0.2", ca);
  assert.equal(other.code, 3, other.err);
  assert.equal(asked.length, 1, "nothing was sent to whom nobody trusts");
  assert.match((await ask("localhost", ["--ca", `${TLS}/issued-key.pem`])).err, /no certificate in PEM form/);
});

test("lists are shown as lines that stand below each other, or as JSON", async (t) => {
  const list = [{ pubkey: somebody, reason: "spam" }, { pubkey: owner.pubkey, reason: "\u001b[31mred\u202e" }];
  const { relay } = await server(t, ({ method }) => ({ result: method === "listbannedpubkeys" ? list : method === "listallowedkinds" ? [1, 5050] : [] }));
  const run = (...args) => admin(["--relay", relay, ...args]);
  const heading = `pubkey${" ".repeat(60)}reason`;
  assert.equal((await run("listbannedpubkeys")).out, `${heading}\n${somebody}  spam\n${owner.pubkey}  \\u{1b}[31mred\\u{202e}\n`);
  assert.deepEqual(JSON.parse((await run("listbannedpubkeys", "--json")).out), list);
  assert.equal((await run("listallowedkinds")).out, "1\n5050\n");
  assert.equal((await run("listblockedips")).out, "none\n");
  assert.equal((await run("listblockedips", "--json")).out, "[]\n");
});

test("what the relay says against it is told in its own words, and each sort of failure has a code", async (t) => {
  const answers = [];
  const { relay, port } = await server(t, () => answers.shift());
  const ask = async (answer, method = "listbannedpubkeys") => {
    answers.push(answer);
    const { code, out, err } = await admin(["--relay", relay, method]);
    assert.equal(out, "");
    return [code, err];
  };
  assert.deepEqual(await ask({ error: "unsupported: there is no such method" }, "fly"), [1, "nexus: unsupported: there is no such method\n"]);
  assert.deepEqual(await ask({ status: 401, error: "auth-required: the key is no owner's" }), [1, "nexus: auth-required: the key is no owner's\n"]);
  assert.deepEqual(await ask({ status: 401, text: "who are you" }), [1, "nexus: the relay answers HTTP 401, and not as NIP-86 says: who are you\n"]);
  assert.deepEqual(await ask({ status: 404, text: "<html>\u0007" }), [3, "nexus: the relay answers HTTP 404, and not as NIP-86 says: <html>\\u{7}\n"]);
  assert.deepEqual(await ask({ status: 307, headers: { Location: "http://elsewhere.example/" }, text: "" }), [3, `nexus: http://127.0.0.1:${port}/ leads to http://elsewhere.example/: name that in --relay, if you trust it\n`]);
  assert.equal((await ask({ text: "{}" }))[0], 3);
  const gone = await admin(["--relay", "ws://127.0.0.1:1", "supportedmethods"]);
  assert.equal(gone.code, 3);
  assert.match(gone.err, /^nexus: http:\/\/127\.0\.0\.1:1\/: .*refused/i);
});

test("nothing is sent of what is called wrongly", async (t) => {
  const { asked, relay } = await server(t, () => ({ result: true }));
  const wrong = async (args, env) => {
    const { code, err } = await admin(args, env);
    assert.equal(code, 2, err);
    return err;
  };
  assert.match(await wrong(["--relay", relay, "banpubkey"]), /it is called as: nexus admin --relay URL banpubkey KEY \[REASON\]/);
  assert.match(await wrong(["--relay", relay, "banpubkey", "npub1nobody"]), /"npub1nobody" is no public key: 64 hex digits, npub1… or nprofile1…/);
  assert.match(await wrong(["--relay", relay, "banpubkey", nsecEncode(owner.secret)]), /a secret key stands among the parameters/);
  assert.match(await wrong(["--relay", relay, "allowkind", "x"]), /KIND must be a whole number up to 65535, not "x"/);
  assert.match(await wrong(["--relay", relay, "setmode", "--raw", "{"]), /--raw must be a list of JSON/);
  assert.match(await wrong(["--relay", "relay.example.com", "supportedmethods"]), /--relay must be a wss:\/\/ or ws:\/\/ URL/);
  assert.match(await wrong(["supportedmethods"]), /--relay/);
  assert.equal(asked.length, 0);
});

test("the secret key comes from a file that nobody else can read, or the environment, and is never shown", async (t) => {
  const { asked, port, relay } = await server(t, () => ({ result: true }));
  const file = join(folder(t), "key");
  const ask = (args, env = {}) => admin(["--relay", relay, ...args, "supportedmethods"], env);
  for (const text of [HEX, `${HEX.toUpperCase()}\n`, `  ${nsecEncode(owner.secret)}\n`]) {
    writeFileSync(file, text);
    chmodSync(file, 0o600);
    assert.equal((await ask(["--key-file", file], { NEXUS_ADMIN_KEY: "another one" })).code, 0);
    assert.equal((await ask([], { NEXUS_ADMIN_KEY: text })).code, 0);
  }
  assert.equal(asked.length, 6);
  asked.forEach((request) => check(request, `http://127.0.0.1:${port}/`));
  for (const mode of [0o644, 0o640, 0o604, 0o660]) {
    chmodSync(file, mode);
    const { code, err } = await ask(["--key-file", file]);
    assert.deepEqual([code, err], [2, `nexus: ${file}: other users can read or write it (mode ${mode.toString(8)}): chmod 600 ${file}\n`]);
  }
  chmodSync(file, 0o400);
  assert.equal((await ask(["--key-file", file])).code, 0);
  const almost = nsecEncode(owner.secret).replace(/.$/, (last) => (last === "q" ? "p" : "q"));
  for (const text of [almost, HEX.slice(1), "0".repeat(64), `${HEX} ${HEX}`]) {
    const { code, err } = await ask([], { NEXUS_ADMIN_KEY: text });
    assert.deepEqual([code, err], [2, "nexus: NEXUS_ADMIN_KEY: not a secret key: it must be 64 hex digits or nsec1…, and nothing else\n"]);
  }
  assert.match((await ask([])).err, /no secret key: name a file \(--key-file\) or set NEXUS_ADMIN_KEY/);
  assert.match((await ask(["--key-file", `${file}.not`])).err, /No such file/);
  assert.equal(asked.length, 7);
});

test("its help names the methods, where the key is and what it ends with", async () => {
  const { code, out } = await admin(["--help"]);
  assert.equal(code, 0);
  for (const text of ["banpubkey KEY [REASON]", "NEXUS_ADMIN_KEY", "Ends with 0 when it is done"]) assert.ok(out.includes(text), text);
});

/** A port that nobody listens at. */
async function free() {
  const listens = createServer().listen(0, "127.0.0.1");
  await once(listens, "listening");
  const { port } = listens.address();
  listens.close();
  await once(listens, "close");
  return port;
}

for (const [host, start] of [["native", startNative], ["Worker", startWorker]]) {
  test(`a key is banned and let in again, and the log says by whom, on the ${host} host`, { timeout: 120_000 }, async (t) => {
    const port = await free();
    const vars = { ...SETTINGS, RELAY_URL: `wss://nexus.example ws://127.0.0.1:${port}`, RELAY_PUBKEY: owner.pubkey };
    const relay = reachable(await start({ vars, port }));
    t.after(() => relay.stop());
    assert.equal(new URL(relay.http).port, `${port}`);
    const run = (...args) => admin(["--relay", `ws://127.0.0.1:${port}`, ...args]);
    const done = async (...args) => assert.deepEqual(await run(...args), { code: 0, out: "done\n", err: "" });
    const methods = await run("supportedmethods");
    assert.ok(["banpubkey", "listauditlog"].every((method) => methods.out.split("\n").includes(method)), methods.err);

    const who = author();
    const client = await rawAgent(relay, who);
    const spam = who.sign({ content: "spam" });
    client.send(["EVENT", spam]);
    assert.equal((await client.next())[2], true);
    await done("banpubkey", npubEncode(who.pubkey), "spam");
    assert.equal((await within(5000, client.ended, "end")).code, 1008);
    await assert.rejects(rawAgent(relay, who), /blocked:/);
    const listed = await run("listbannedpubkeys");
    assert.match(listed.out, new RegExp(`^pubkey +reason +since\n${who.pubkey}  spam    \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\n$`));
    await done("banevent", noteEncode(spam.id), "as well");
    await done("disallowkind", "4");
    await done("blockip", "2001:db8::/32");
    assert.equal((await run("listdisallowedkinds")).out, "4\n");
    await done("unbanpubkey", who.pubkey);
    const again = await rawAgent(relay, who);
    again.send(["EVENT", spam]);
    assert.match((await again.next())[3], /^blocked: the operator of this relay has banned this event/);
    again.close();
    const log = JSON.parse((await run("listauditlog", "--json")).out);
    assert.deepEqual(log.map(({ method, by }) => [method, by]), ["unbanpubkey", "blockip", "disallowkind", "banevent", "banpubkey"].map((method) => [method, owner.pubkey]));

    const { code, err } = await admin(["--relay", `ws://127.0.0.1:${port}`, "listauditlog"], { NEXUS_ADMIN_KEY: Buffer.from(author().secret).toString("hex") });
    assert.equal(code, 1);
    assert.match(err, /^nexus: \S+/);
    const other = await admin(["--relay", `ws://localhost:${port}`, "listauditlog"]);
    assert.deepEqual([other.code, /u must be the URL that is asked, at an address of RELAY_URL/.test(other.err)], [1, true], other.err);
    assert.deepEqual((await run("changerelayname", "Mine")).code, 1);
  });
}
