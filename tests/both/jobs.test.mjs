// What is told of a job over HTTP, to whom, and numbers that are for the relay's owner alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { NATIVE, agent, author, seconds, sleep, startRelay } from "../support/relay.mjs";

/** The header by which `who` proves a key for a request (NIP-98), at the relay's address as its settings have it. */
export function proof(who, path, { method = "GET", url = `https://nexus.example${path}`, ...more } = {}) {
  const event = who.sign({ kind: 27_235, tags: [["u", url], ["method", method]], ...more });
  return { Authorization: `Nostr ${Buffer.from(JSON.stringify(event)).toString("base64")}` };
}

const ask = async (relay, path, headers = {}, method = "GET") => {
  const answer = await fetch(`${relay.http}${path}`, { method, headers });
  const body = await answer.text();
  return { status: answer.status, headers: answer.headers, body: answer.headers.get("content-type").startsWith("application/json") && body !== "" ? JSON.parse(body) : body };
};

/** A job that is asked of one provider and answered by it. */
async function trade(relay, tags = []) {
  const [buyer, provider] = [await agent(relay), await agent(relay)];
  const job = await buyer.publish({ kind: 5050, tags: [["i", "a secret", "text"], ["bid", "9000"], ["p", provider.pubkey], ...tags], content: "a secret" });
  const about = [["e", job.id], ["p", buyer.pubkey]];
  await provider.publish({ kind: 7000, tags: [["status", "processing"], ["amount", "5000", "lnbc1secret"], ...about] });
  await provider.publish({ kind: 6050, tags: about, content: "a secret" });
  return { buyer, provider, job, path: `/api/jobs/${job.id}`, close: () => [buyer, provider].forEach((who) => who.close()) };
}

test("a job is told with its states, times and amounts, and without content", async () => {
  const relay = await startRelay();
  const { buyer, provider, job, path, close } = await trade(relay);
  const { status, headers, body } = await ask(relay, path);
  assert.equal(status, 200);
  assert.equal(headers.get("access-control-allow-origin"), "*");
  assert.deepEqual([body.version, body.id, body.state, body.kind, body.customer], [1, job.id, "success", 5050, buyer.pubkey]);
  assert.deepEqual([body.bid_msats, body.asked, body.first_result_by], [9000, [{ pubkey: provider.pubkey }], provider.pubkey]);
  assert.deepEqual(body.states.map(({ state }) => state), ["open", "processing", "success"]);
  for (const { at_ms: at } of body.states) assert.ok(Math.abs(at - Date.now()) < 20_000);
  assert.deepEqual(body.answers.map(({ kind, pubkey, status, amount_msats, counts }) => [kind, pubkey, status, amount_msats, counts]), [
    [7000, provider.pubkey, "processing", 5000, true],
    [6050, provider.pubkey, null, null, true],
  ]);
  assert.doesNotMatch(JSON.stringify(body), /secret/);
  // Cancelled, wherever the deletion lies.
  await buyer.publish({ kind: 5, tags: [["e", job.id]] });
  await sleep(2500);
  const { states, customer } = (await ask(relay, path)).body;
  assert.deepEqual([states.at(-1).state, customer], ["cancelled", buyer.pubkey]);
  assert.ok(Math.abs(states.at(-1).at_ms - Date.now()) < 20_000);
  close();
  await relay.stop();
});

test("what is no job is said to be none, what is no id too", async () => {
  const relay = await startRelay();
  for (const [path, method, status, error] of [
    [`/api/jobs/${"ab".repeat(32)}`, "GET", 404, /no job of this id is known here/],
    [`/api/jobs/${"AB".repeat(32)}`, "GET", 400, /64 lower-case hex digits/],
    ["/api/jobs/", "GET", 400, /64 lower-case hex digits/],
    ["/jobs/1", "GET", 400, /64 lower-case hex digits/],
    [`/api/jobs/${"ab".repeat(32)}`, "DELETE", 405, /use GET/],
  ]) {
    const answer = await ask(relay, path, {}, method);
    assert.equal(answer.status, status, path);
    assert.match(answer.body.error, error);
  }
  // A page is there for each id, and says so itself.
  const page = await ask(relay, `/jobs/${"ab".repeat(32)}`, { Accept: "text/html" });
  assert.deepEqual([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  assert.match(page.headers.get("content-security-policy"), /default-src 'none'/);
  assert.match(page.body, /job-page\.js/);
  await relay.stop();
});

test("of an encrypted job strangers are told states and times, and who proves to be a party more", async () => {
  const relay = await startRelay({ vars: { STATS_SHARED_SECONDS: 60 } });
  const { buyer, provider, path, close } = await trade(relay, [["encrypted"]]);
  const stranger = await ask(relay, path);
  assert.deepEqual(stranger.body.states.map(({ state }) => state), ["open", "processing", "success"]);
  for (const hidden of ["kind", "customer", "asked", "answers", "bid_msats", "first_result_by"]) assert.ok(!(hidden in stranger.body), hidden);
  assert.match(stranger.body.more, /NIP-98/);
  for (const [who, answers] of [[buyer, 2], [provider, 2], [author(), undefined]]) {
    const { status, headers, body } = await ask(relay, path, proof(who, path));
    assert.deepEqual([status, body.answers?.length], [200, answers]);
    assert.match(headers.get("cache-control"), /private/);
    assert.match(headers.get("vary"), /Authorization/);
  }
  // What one was shown another is not.
  assert.ok(!("answers" in (await ask(relay, path)).body));
  const mine = proof(buyer, path);
  assert.equal((await ask(relay, path, { ...mine, "x-nexus-key": provider.pubkey })).body.answers.length, 2);
  assert.ok(!("answers" in (await ask(relay, path, { "x-nexus-key": buyer.pubkey })).body), "nobody says by a header of ours who he is");
  for (const [what, headers] of [
    ["another URL", proof(buyer, "/api/jobs/other")],
    ["another host", proof(buyer, path, { url: `https://elsewhere.example${path}` })],
    ["another method", proof(buyer, path, { method: "POST" })],
    ["another time", proof(buyer, path, { created_at: seconds() - 90 })],
    ["another kind", proof(buyer, path, { kind: 22_242 })],
    ["another scheme", { Authorization: "Bearer abc" }],
  ]) {
    const { status, headers: told, body } = await ask(relay, path, headers);
    assert.deepEqual([status, told.get("www-authenticate")], [401, "Nostr"], what);
    assert.equal(typeof body.error, "string");
  }
  close();
  await relay.stop();
});

test("a network's questions about jobs are bounded, also those that are signed wrongly", async () => {
  const rates = { RATE_LIMITS: "on", RATE_GUEST: "events 100/100 queries 100/100 bytes 8192/81920" };
  const limited = await startRelay({ vars: { ...rates, ...(NATIVE && { GATEWAYS: 1 }) } });
  const path = `/api/jobs/${"ab".repeat(32)}`;
  const from = { "cf-connecting-ip": "192.0.2.7" };
  const wrong = { ...from, ...proof(author(), "/other") };
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => ask(limited, path, n % 2 ? wrong : from)));
  const refused = answers.filter(({ status }) => status === 429).length;
  assert.ok(refused >= 30 && refused <= 45, `${refused} of 60`);
  await limited.stop();
});

test("with STATS=owners the numbers are for the operator, and jobs for him and their parties", async () => {
  const owner = author();
  const relay = await startRelay({ vars: { STATS: "owners", RELAY_PUBKEY: owner.pubkey, STATS_SHARED_SECONDS: "" } });
  const { buyer, path: job, close } = await trade(relay);
  for (const path of ["/api/stats", "/metrics", "/api/history?step=minute", job]) {
    const nobody = await ask(relay, path);
    assert.deepEqual([nobody.status, nobody.headers.get("www-authenticate")], [401, "Nostr"], path);
    assert.match(nobody.body.error, /NIP-98/);
    const stranger = await ask(relay, path, proof(author(), path));
    assert.equal(stranger.status, 403, path);
    for (const method of ["GET", "HEAD"]) {
      const his = await ask(relay, path, proof(owner, path, { method }), method);
      assert.equal(his.status, 200, `${method} ${path}: ${JSON.stringify(his.body)}`);
      assert.match(his.headers.get("cache-control"), /private/);
    }
    // What he was told nobody else is.
    assert.equal((await ask(relay, path)).status, 401);
  }
  assert.equal((await ask(relay, job, proof(buyer, job))).status, 200);
  // What says nothing of the market, and who offers what, is for everybody.
  for (const path of ["/health", "/api/handlers?k=5050"]) assert.equal((await ask(relay, path)).status, 200, path);
  assert.equal((await fetch(`${relay.http}/`, { headers: { Accept: "application/nostr+json" } })).status, 200);
  close();
  await relay.stop();
});
