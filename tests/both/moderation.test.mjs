// The management API (NIP-86) over HTTP, by a client library as it is published, and what its rulings do to clients.
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { makeHttpAuth, sendManagementRequest } from "@welshman/util";
import { agent, author, rawAgent, rawClient, seconds, startRelay, within } from "../support/relay.mjs";

const OWNER = author();
const URL = "wss://nexus.example";
let relay;
before(async () => (relay = await startRelay({ vars: { RELAY_PUBKEY: OWNER.pubkey } })));
after(() => relay.stop());

/** Two same calls of one second would be one event. */
const nonce = () => ["nonce", randomUUID()];

/** Calls a method as the library does: the URL that is signed is the relay's, the one that is asked is where it is served. */
async function call(method, params = [], { who = OWNER, url = URL } = {}) {
  const body = { method, params };
  const event = await makeHttpAuth(url, "POST", JSON.stringify(body));
  return sendManagementRequest(`${relay.http}/`, body, who.sign({ ...event, tags: [...event.tags, nonce()] }));
}

/** A request as it is, with a header made of this event. */
const post = (body, event, headers = {}) =>
  fetch(`${relay.http}/`, {
    method: "POST",
    body,
    headers: {
      "Content-Type": "application/nostr+json+rpc",
      ...(event && { Authorization: `Nostr ${Buffer.from(JSON.stringify(event)).toString("base64")}` }),
      ...headers,
    },
  });

const BODY = JSON.stringify({ method: "supportedmethods", params: [] });
const payload = (body) => createHash("sha256").update(body).digest("hex");
const proof = ({ who = OWNER, u = URL, method = "POST", body = BODY, kind = 27235, at = seconds() } = {}) =>
  who.sign({ kind, created_at: at, tags: [["u", u], ["method", method], nonce(), ...(body === null ? [] : [["payload", payload(body)]])] });

test("a spammer is banned, purged and let in again, by a client that knows NIP-86", async () => {
  const methods = (await call("supportedmethods")).result;
  for (const method of ["banpubkey", "unbanpubkey", "banevent", "blockip", "disallowkind", "listauditlog"]) assert.ok(methods.includes(method), method);
  const [spammer, buyer] = [await rawAgent(relay, author()), await agent(relay)];
  const who = author();
  const client = await rawAgent(relay, who);
  const spam = who.sign({ kind: 1, content: "spam" });
  client.send(["EVENT", spam]);
  assert.equal((await client.next())[2], true);
  assert.deepEqual(await call("banpubkey", [who.pubkey, "spam"]), { result: true });
  assert.deepEqual(await within(5000, client.ended, "end"), { code: 1008, reason: "blocked: the operator of this relay has blocked this key" });
  assert.equal(spammer.closed, undefined, "others stay");
  await assert.rejects(rawAgent(relay, who), /blocked:/);
  assert.equal((await call("listbannedpubkeys")).result[0].pubkey, who.pubkey);
  assert.equal((await call("listbannedpubkeys")).result[0].reason, "spam");
  assert.deepEqual(await call("purgepubkey", [who.pubkey]), { result: true });
  const found = await buyer.read({ authors: [who.pubkey] });
  assert.deepEqual(found, []);
  assert.deepEqual(await call("unbanpubkey", [who.pubkey]), { result: true });
  const again = await rawAgent(relay, who);
  again.send(["EVENT", spam]);
  assert.equal((await again.next())[2], true);
  const log = (await call("listauditlog")).result;
  assert.deepEqual(log.map(({ method }) => method), ["unbanpubkey", "purgepubkey", "banpubkey"]);
  assert.ok(log.every(({ by, at }) => by === OWNER.pubkey && Math.abs(at - seconds()) < 60));
  for (const one of [spammer, again]) one.close();
  buyer.relay.close();
});

test("a banned job leaves, wherever it lies, and stays away after a restart of what knows it", async () => {
  const [buyer, provider] = [await agent(relay), await agent(relay)];
  for (let n = 0; n < 4; n++) {
    const job = await buyer.publish({ kind: 5050, tags: [["i", `${n}`, "text"]] });
    await provider.publish({ kind: 6050, tags: [["e", job.id], ["p", buyer.pubkey]] });
    assert.deepEqual(await call("banevent", [job.id]), { result: true });
    assert.deepEqual(await buyer.read({ ids: [job.id] }), []);
    await assert.rejects(buyer.relay.publish(job), /blocked: the operator of this relay has banned this event/);
  }
  buyer.relay.close();
  provider.relay.close();
});

test("who signs as NIP-98 says is heard, by each way to write the address", async () => {
  for (const u of [URL, `${URL}/`, "https://nexus.example", "https://nexus.example/"]) {
    assert.equal((await post(BODY, proof({ u }))).status, 200, u);
  }
});

test("a forged, old, repeated or foreign signature is refused with 401", async () => {
  const forged = { ...proof(), content: "x" };
  const other = JSON.stringify({ method: "listauditlog", params: [] });
  const wrong = [
    ["no signature", BODY, undefined],
    ["another host, though the Host header says so", BODY, proof({ u: relay.http })],
    ["another method", BODY, proof({ method: "GET" })],
    ["no payload", BODY, proof({ body: null })],
    ["another body", other, proof()],
    ["too old", BODY, proof({ at: seconds() - 90 })],
    ["of tomorrow", BODY, proof({ at: seconds() + 90 })],
    ["another kind", BODY, proof({ kind: 22242 })],
    ["forged", BODY, forged],
  ];
  for (const [what, body, event] of wrong) {
    const answer = await post(body, event, { "X-Forwarded-Host": "nexus.example" });
    assert.equal(answer.status, 401, what);
    assert.ok((await answer.json()).error.length > 10, what);
  }
  const once = proof();
  assert.equal((await post(BODY, once)).status, 200);
  assert.equal((await post(BODY, once)).status, 401, "used twice");
  assert.equal((await post(BODY, proof({ who: author() }))).status, 403, "a stranger");
  assert.equal((await post("x".repeat(70_000), proof())).status, 413);
});

test("a browser of another origin may ask", async () => {
  const answer = await fetch(`${relay.http}/`, { method: "OPTIONS", headers: { Origin: "https://admin.example", "Access-Control-Request-Method": "POST" } });
  assert.equal(answer.status, 204);
  const list = (name) => answer.headers.get(name).toLowerCase().split(/, */);
  for (const header of ["authorization", "content-type"]) assert.ok(list("access-control-allow-headers").includes(header));
  assert.ok(list("access-control-allow-methods").includes("post"));
});

test("a closed relay lets in whom its owner allows, and no proof but that of a key", async () => {
  const closed = await startRelay({ vars: { RELAY_PUBKEY: OWNER.pubkey, ACCESS: "closed", AUTH_REQUIRED: false } });
  const own = relay;
  relay = closed;
  try {
    const member = author();
    await assert.rejects(rawAgent(closed, member), /restricted: this relay is for its members alone/);
    const guest = await rawClient(closed.ws);
    await guest.next();
    guest.send(["REQ", "s", {}]);
    assert.equal((await guest.next())[0], "CLOSED");
    guest.close();
    assert.deepEqual(await call("allowpubkey", [member.pubkey, "friend"]), { result: true });
    const inside = await rawAgent(closed, member);
    inside.send(["EVENT", member.sign({ kind: 1, content: "hello" })]);
    assert.equal((await inside.next())[2], true);
    assert.deepEqual(await call("unallowpubkey", [member.pubkey]), { result: true });
    assert.equal((await within(5000, inside.ended, "end")).code, 1008);
    const { limitation } = await (await fetch(`${closed.http}/`, { headers: { Accept: "application/nostr+json" } })).json();
    assert.deepEqual([limitation.auth_required, limitation.restricted_writes], [true, true]);
  } finally {
    relay = own;
    await closed.stop();
  }
});
