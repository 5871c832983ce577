// Gateways near their clients: which object a client comes to, by the continent that its request says. And that all objects are of
// the jurisdiction. Where Cloudflare makes an object that has a hint or a jurisdiction cannot be seen here.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, startRelay } from "../support/relay.mjs";
import { between } from "../support/worker.mjs";

/** A client of a continent, with an address of its own. */
const from = (continent, n) => ({ headers: { "cf-connecting-ip": `192.0.2.${n}`, "MF-CF-Blob": JSON.stringify({ continent }) } });

/** Connects some clients of a continent; the gateways that they come to, and the clients. */
async function arrive(relay, continent, first) {
  await relay.told();
  const clients = await Promise.all(Array.from({ length: 10 }, (_, n) => rawAgent(relay, author(), from(continent, first + n))));
  for (const client of clients) {
    client.send(["REQ", "notes", { kinds: [1], limit: 0 }]);
    assert.equal((await client.next())[0], "EOSE");
  }
  const gateways = new Set((await relay.told()).filter(({ object }) => object === "nexus").map(({ from }) => from));
  return { clients, gateways: [...gateways].sort() };
}

test("clients come to the nearest place that the operator names, and hear of each other", { timeout: 120_000 }, async () => {
  const relay = await startRelay({ vars: { PLACES: "apac weur", GATEWAYS: "2" }, ...between() });
  const weur = ["/link/gateway/4001", "/link/gateway/4002"];
  const apac = ["/link/gateway/6001", "/link/gateway/6002"];
  const all = [];
  for (const [continent, gateways] of [["EU", weur], ["OC", apac], ["AF", weur], ["nowhere", apac]]) {
    const arrived = await arrive(relay, continent, 1 + all.length);
    assert.deepEqual(arrived.gateways, gateways, continent);
    all.push(...arrived.clients);
  }
  await relay.told();
  const event = author().sign({ content: "to all" });
  all[0].send(["EVENT", event]);
  for (const client of all) {
    let frame = await client.next(10_000);
    if (frame[0] === "OK") frame = await client.next(10_000);
    assert.equal(frame[2].id, event.id);
  }
  const told = new Set((await relay.told()).map(({ object }) => object).filter((object) => object !== "nexus"));
  assert.deepEqual([...told].sort(), ["nexus-gateway-apac-1", "nexus-gateway-apac-2", "nexus-gateway-weur-1", "nexus-gateway-weur-2"]);
  const stats = await relay.stats();
  assert.equal(stats.events.stored, 1);
  all.forEach((client) => client.close());
  await relay.stop();
});

test("all objects are of the jurisdiction: gateways and partitions", { timeout: 120_000 }, async () => {
  const relay = await startRelay({ vars: { GATEWAYS: "2", PARTITIONS: "2", JURISDICTION: "eu" }, ...between() });
  const who = author();
  const clients = await Promise.all(Array.from({ length: 10 }, (_, n) => rawAgent(relay, n === 0 ? who : author(), from("EU", n))));
  const jobs = Array.from({ length: 8 }, (_, n) => who.sign({ kind: 5050, tags: [["i", `${n}`]] }));
  for (const job of jobs) {
    clients[0].send(["EVENT", job]);
    assert.deepEqual(await clients[0].next(10_000), ["OK", job.id, true, ""]);
  }
  assert.deepEqual(await (await fetch(`${relay.http}/health`)).json(), { status: "ok" });
  const told = [...new Set((await relay.told()).map(({ object }) => object))].sort();
  assert.deepEqual(told, ["eu/nexus", "eu/nexus-gateway-1", "eu/nexus-gateway-2", "eu/nexus-partition-1"]);
  clients.forEach((client) => client.close());
  await relay.stop();
});

test("a place that is none is named", async () => {
  const relay = await startRelay({ vars: { PLACES: "weur mars", LOCATION: "moon", JURISDICTION: "mars" } });
  const response = await fetch(`${relay.http}/api/stats`);
  const { error } = await response.json();
  assert.equal(response.status, 500);
  assert.match(error, /PLACES must be location hints of Cloudflare's, such as weur enam, not "weur mars"/);
  assert.match(error, /LOCATION must be one of Cloudflare's location hints, such as weur, not "moon"/);
  assert.match(error, /JURISDICTION must be eu, us or fedramp, not "mars"/);
  await relay.stop();
});

test("a jurisdiction leaves no choice of places", async () => {
  const relay = await startRelay({ vars: { PLACES: "weur", JURISDICTION: "eu" } });
  const { error } = await (await fetch(`${relay.http}/api/stats`)).json();
  assert.match(error, /JURISDICTION must be empty where PLACES or LOCATION say where objects are/);
  await relay.stop();
});
