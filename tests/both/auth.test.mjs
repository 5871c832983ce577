// NIP-42 on the wire: what is not proven can neither be stored nor seen.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { agent, author, rawAgent, rawClient, startRelay } from "../support/relay.mjs";

let relay;
before(async () => (relay = await startRelay()));
after(() => relay.stop());

const REQUIRED = "auth-required: answer the AUTH challenge first (NIP-42)";

test("before AUTH an EVENT and a REQ are refused, nothing is stored", async () => {
  const client = await rawClient(relay.ws);
  const [verb, challenge] = await client.next();
  assert.equal(verb, "AUTH");
  assert.match(challenge, /^[0-9a-f]{32}$/);
  const event = author().sign({ content: "hello" });
  client.send(["EVENT", event]);
  assert.deepEqual(await client.next(), ["OK", event.id, false, REQUIRED]);
  client.send(["REQ", "s", {}]);
  assert.deepEqual(await client.next(), ["CLOSED", "s", REQUIRED]);
  assert.equal((await relay.stats()).events.stored, 0);
  client.close();
});

test("a wrong challenge, a challenge of another connection and a forged signature prove nothing", async () => {
  const [client, other] = await Promise.all([rawClient(relay.ws), rawClient(relay.ws)]);
  const [, challenge] = await client.next();
  const [, elsewhere] = await other.next();
  const who = author();
  const auth = (value) => who.sign({ kind: 22242, tags: [["relay", "wss://nexus.example"], ["challenge", value]] });
  const good = auth(challenge);
  const forged = { ...good, sig: author().sign({}).sig };
  const cases = [
    [auth("guess"), "invalid: challenge tag is not the challenge of this connection"],
    [auth(elsewhere), "invalid: challenge tag is not the challenge of this connection"],
    [forged, "invalid: sig is not the author's signature of the id"],
    [{ ...good, pubkey: author().pubkey }, "invalid: id is not the sha256 of the event"],
  ];
  for (const [event, reason] of cases) {
    client.send(["AUTH", event]);
    assert.deepEqual(await client.next(), ["OK", event.id, false, reason]);
    client.send(["REQ", "s", {}]);
    assert.deepEqual(await client.next(), ["CLOSED", "s", REQUIRED]);
  }
  client.send(["AUTH", good]);
  assert.deepEqual(await client.next(), ["OK", good.id, true, ""]);
  client.send(["REQ", "s", { limit: 0 }]);
  assert.deepEqual(await client.next(), ["EOSE", "s"]);
  client.close();
  other.close();
});

test("a forged or altered event is neither stored nor seen", async () => {
  const client = await rawAgent(relay);
  const watcher = await agent(relay);
  const seen = await watcher.watch({});
  const good = author().sign({ kind: 5050, tags: [["i", "x", "text"]], content: "pay me" });
  const forgeries = [
    { ...good, content: "pay me more" },
    { ...good, sig: author().sign({}).sig },
    { ...good, pubkey: author().pubkey },
    { ...good, kind: 20001 },
  ];
  for (const forged of forgeries) {
    client.send(["EVENT", forged]);
    const [verb, id, accepted, reason] = await client.next();
    assert.deepEqual([verb, id, accepted], ["OK", good.id, false]);
    assert.match(reason, /^invalid: (id|sig) is not /);
  }
  client.send(["EVENT", good]);
  assert.deepEqual(await client.next(), ["OK", good.id, true, ""]);
  assert.equal((await seen.next()).content, "pay me");
  assert.deepEqual(seen.events, []);
  client.close();
  watcher.close();
});

test("AUTH_REQUIRED=false lets everybody in", async () => {
  const open = await startRelay({ vars: { AUTH_REQUIRED: "false" } });
  const client = await rawClient(open.ws);
  assert.equal((await client.next())[0], "AUTH");
  const event = author().sign({});
  client.send(["EVENT", event]);
  assert.deepEqual(await client.next(), ["OK", event.id, true, ""]);
  client.close();
  await open.stop();
});
