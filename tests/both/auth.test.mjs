// NIP-42 on the wire: what is not proven can neither be stored nor seen.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Relay } from "nostr-tools/relay";
import { NATIVE, agent, author, rawAgent, rawClient, sleep, startRelay, within } from "../support/relay.mjs";

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

// Each host reads URLs with a parser of its own.
test("the relay is known by host and port, however its URL is written", async () => {
  const named = await startRelay({ vars: { RELAY_URL: "wss://Nexus.Example:8443/ ws://[::1]:7000,wss://bücher.example" } });
  const cases = [
    ["wss://nexus.example.:8443/any?path#here", true],
    ["ws://user@NEXUS.example:8443", true],
    [" WSS://[0:0::1]:7000 ", true],
    ["wss://xn--bcher-kva.example:443", true],
    ["ws://bücher.example:443", true],
    ["ws://bücher.example", false],
    ["wss://nexus.example", false],
    ["wss://[::1]", false],
    ["https://nexus.example:8443", false],
    ["wss://nexus.example:8443x", false],
    ["nexus.example:8443", false],
  ];
  for (const [url, proves] of cases) {
    const client = await rawClient(named.ws);
    const [, challenge] = await client.next();
    client.send(["AUTH", author().sign({ kind: 22242, tags: [["relay", url], ["challenge", challenge]] })]);
    const [, , proved, reason] = await client.next();
    assert.equal(proved, proves, `${url}: ${reason}`);
    client.close();
  }
  await named.stop();
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

test("a client of nostr-tools lives through a challenge in the middle of its session", { timeout: 60_000 }, async () => {
  const limited = await startRelay({ vars: { RATE_LIMITS: "on" } });
  const [writer, who] = [await agent(limited), author()];
  for (let n = 0; n < 20; n++) await writer.publish({ content: `${n} ${"x".repeat(100_000)}` });
  const client = new Relay(limited.ws);
  const challenges = [];
  client.onauth = async (template) => {
    challenges.push(template.tags.find(([name]) => name === "challenge")[1]);
    return who.sign({ ...template, tags: template.tags.map(([name, value]) => [name, name === "relay" ? "wss://nexus.example" : value]) });
  };
  await client.connect();
  while (!challenges.length) await sleep(2);
  await client.authPromise;
  const read = () =>
    within(
      20_000,
      new Promise((resolve, reject) => {
        let events = 0;
        const sub = client.subscribe([{ kinds: [1], limit: 20 }], { onevent: () => events++, oneose: () => (resolve(events), sub.close()), onclose: reject });
      }),
      "EOSE",
    );
  const live = [];
  client.subscribe([{ kinds: [5050] }], { onevent: (event) => live.push(event.id) });
  // 2 MB each: it is challenged after the first.
  for (let n = 0; n < 3; n++) {
    assert.equal(await read(), 20);
    if (n === 1) client.authPromise = undefined; // so it answers the next one, too
  }
  if (!NATIVE) assert.notEqual(client.challenge, challenges[0]);
  const job = await writer.publish({ kind: 5050 });
  await client.publish(who.sign({ content: "still here" }));
  for (let tries = 0; tries < 100 && !live.length; tries++) await sleep(20);
  assert.deepEqual(live, [job.id]);
  client.close();
  writer.close();
  await limited.stop();
});
