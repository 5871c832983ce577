// The market on the built Worker, with nostr-tools: who is found, who reads what, who goes too fast.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { agent, author, rawAgent, rawClient, settled, sleep, startRelay } from "../support/relay.mjs";

let relay;
before(async () => (relay = await startRelay({ vars: { RATE_LIMITS: "on" } })));
after(() => relay.stop());

const handlers = async (kind) => (await (await fetch(`${relay.http}/api/handlers?k=${kind}`)).json()).handlers;
const refusal = (published) => published.then(() => null, (error) => error.message);

test("a provider is found by its capability with what it did", async () => {
  const [provider, idle, buyer] = await Promise.all([agent(relay), agent(relay), agent(relay)]);
  for (const [who, name] of [[idle, "idle"], [provider, "busy"]]) {
    await who.publish({ kind: 31990, tags: [["d", name], ["k", "5301"]], content: JSON.stringify({ name }) });
  }
  for (let n = 0; n < 3; n++) {
    const request = await buyer.publish({ kind: 5301, tags: [["i", `${n}`, "text"]] });
    await provider.publish({ kind: 6301, tags: [["e", request.id], ["p", buyer.pubkey]], content: "done" });
  }
  await buyer.publish({ kind: 1985, tags: [["L", "quality"], ["l", "quality/good", "quality"], ["p", provider.pubkey]] });
  await settled();
  const [first, second, ...others] = await handlers(5301);
  assert.deepEqual([first.metadata.name, second.metadata.name, others.length], ["busy", "idle", 0]);
  assert.deepEqual([first.rank, first.online, first.results, first.errors, first.success_rate], [1, true, 3, 0, 1]);
  assert.ok(first.median_ms >= 0 && first.median_ms < 5000, `${first.median_ms} ms`);
  assert.deepEqual(first.reputation.map(({ label, weight }) => [label, weight]), [["quality/good", 0.05]]);
  assert.deepEqual([second.success_rate, second.median_ms], [null, null]);
  for (const client of [provider, idle, buyer]) client.close();
});

test("an encrypted job is for its parties", async () => {
  const [provider, buyer, stranger] = await Promise.all([agent(relay), agent(relay), agent(relay)]);
  const request = await buyer.publish({ kind: 5302, tags: [["encrypted"], ["p", provider.pubkey]], content: "…" });
  const filter = { kinds: [6302, 7000], "#e": [request.id] };
  const [seen, overheard] = await Promise.all([buyer.watch(filter), stranger.watch(filter)]);
  const about = [["e", request.id], ["p", buyer.pubkey]];
  await provider.publish({ kind: 7000, tags: [["status", "processing"], ...about] });
  const result = await provider.publish({ kind: 6302, tags: about, content: "…" });
  await seen.next();
  assert.equal((await seen.next()).id, result.id);
  assert.equal((await buyer.read(filter)).length, 2);
  assert.equal((await provider.read(filter)).length, 2);
  assert.deepEqual([await stranger.read(filter), overheard.events], [[], []]);
  assert.match(await refusal(stranger.publish({ kind: 6302, tags: about })), /^invalid: e tag/);
  for (const client of [provider, buyer, stranger]) client.close();
});

test("a cancelled job takes no result", async () => {
  const [provider, late, buyer] = await Promise.all([agent(relay), agent(relay), agent(relay)]);
  const request = await buyer.publish({ kind: 5303, tags: [["i", "x", "text"]] });
  const about = [["e", request.id], ["p", buyer.pubkey]];
  await provider.publish({ kind: 7000, tags: [["status", "processing"], ...about] });
  const told = new Promise((resolve) => (provider.relay.onnotice = resolve));
  await buyer.publish({ kind: 5, tags: [["e", request.id]] });
  assert.equal(await told, `cancelled: job ${request.id} is cancelled`);
  assert.equal(await refusal(late.publish({ kind: 6303, tags: about })), "blocked: job cancelled");
  for (const client of [provider, late, buyer]) client.close();
});

test("who goes too fast is told how long to wait, and waiting is enough", async () => {
  const who = author();
  const client = await rawAgent(relay, who);
  const events = Array.from({ length: 300 }, (_, n) => who.sign({ kind: 1, content: `${n}` }));
  for (const event of events) client.send(["EVENT", event]);
  const answers = [];
  while (answers.length < events.length) answers.push(await client.next());
  const refused = answers.filter(([, , taken]) => !taken);
  assert.ok(refused.length > 20 && refused.length <= 60, `${refused.length} refused of 300: 200 at once, 40 in two seconds`);
  for (const [, , , reason] of refused) assert.match(reason, /^rate-limited: 20 events a second for one agent; retry in \d+ s$/);
  await sleep(1000 * Number(/retry in (\d+) s/.exec(refused.at(-1)[3])[1]));
  client.send(["EVENT", events.find(({ id }) => id === refused[0][1])]);
  assert.deepEqual((await client.next()).slice(2), [true, ""]);
  const stats = await relay.stats();
  assert.equal(stats.rate_limited.events, refused.length);
  assert.equal(stats.events.rejected["rate-limited"], refused.length);
  client.close();
});

test("of one address only so many may be open without a key", async () => {
  const from = { headers: { "cf-connecting-ip": "192.0.2.7" } };
  const guests = await Promise.all(Array.from({ length: 20 }, () => rawClient(relay.ws, from)));
  await assert.rejects(rawClient(relay.ws, from), /429/);
  guests[0].close();
  await guests[0].ended;
  await sleep(100);
  (await rawClient(relay.ws, from)).close();
  for (const guest of guests) guest.close();
});

test("the list of handlers can be turned off", async () => {
  const quiet = await startRelay({ vars: { HANDLERS_API: "false" } });
  const answer = await fetch(`${quiet.http}/api/handlers?k=5050`);
  assert.equal(answer.status, 404);
  assert.match((await answer.json()).error, /HANDLERS_API/);
  await quiet.stop();
});
