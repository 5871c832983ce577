// A buyer and a provider trade while somebody attacks the relay: what the attack costs them and the relay, beside the
// same attack on nobody. With NEXUS_SIEGE=SECONDS all attacks are made, each for so long; else the short ones.
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { useWebSocketImplementation } from "nostr-tools/relay";
import WebSocket from "ws";
import { NATIVE, agent, author, seconds, sleep, startRelay, within } from "../support/relay.mjs";
import { ATTACKS } from "./attacks.mjs";

const SECONDS = Number(process.env.NEXUS_SIEGE ?? 4);
const SIEGE = ATTACKS.filter(({ short }) => short || process.env.NEXUS_SIEGE !== undefined);
/** Attacks whose jobs were slow are repeated: a machine that does something else slows them, too. */
const ROUNDS = 5;
const JOBS_PER_SECOND = 12;
const MIB = 1_048_576;
/** What the relay's process may grow by in one attack. */
const GROWTH = 96 * MIB;
const ROWS_PER_DAY = 24_000_000;
const ATTACKER = fileURLToPath(new URL("attacker.mjs", import.meta.url));
let relay, trade;
let addresses = 0;
let tradersFrom;
let rowsKnown = 0;

/** The processes of the relay. */
function processes() {
  if (relay.program) return [relay.program.pid];
  const parent = (pid) => Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1]);
  const ours = (pid) => {
    try {
      return parent(pid) === process.pid && readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("workerd");
    } catch {
      return false; // it has ended
    }
  };
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && ours(name));
}

const resident = () =>
  processes()
    .map((pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

// The two who trade come from an address of their own.
useWebSocketImplementation(
  class extends WebSocket {
    constructor(url) {
      super(url, { headers: { "CF-Connecting-IP": tradersFrom } });
    }
  },
);

/** Two who trade: `jobs` trades for some milliseconds and gives how long each job took, from request to result. */
async function traders() {
  tradersFrom = `203.0.113.${(addresses += 1)}`;
  const [buyer, provider] = await Promise.all([agent(relay, author()), agent(relay, author())]);
  const tags = (request) => [["e", request.id], ["p", request.pubkey]];
  const waiting = new Map();
  await Promise.all([
    new Promise((resolve) =>
      provider.relay.subscribe([{ kinds: [5050], authors: [buyer.pubkey], since: seconds() }], {
        onevent: (request) => void provider.relay.publish(provider.sign({ kind: 6050, content: "done", tags: tags(request) })),
        oneose: resolve,
      }),
    ),
    new Promise((resolve) =>
      buyer.relay.subscribe([{ kinds: [6050], "#p": [buyer.pubkey], since: seconds() }], {
        onevent: (result) => waiting.get(result.tags[0][1])?.(),
        oneose: resolve,
      }),
    ),
  ]);
  let made = 0;
  return {
    async jobs(ms) {
      const times = [];
      const end = Date.now() + ms;
      while (Date.now() < end) {
        const request = buyer.sign({ kind: 5050, content: `${made++}` });
        const start = performance.now();
        const done = new Promise((resolve) => waiting.set(request.id, resolve));
        await within(10_000, Promise.all([buyer.relay.publish(request), done]), "result of an honest job");
        waiting.delete(request.id);
        times.push(performance.now() - start);
        await sleep(Math.max(0, 1000 / JOBS_PER_SECOND - times.at(-1)));
      }
      return times;
    },
    close: () => [buyer, provider].forEach((who) => who.close()),
  };
}

/** Attacks `url` from a new address while the two trade: how long their jobs took, what the attacker met, and what it cost. */
async function besiege({ name }, url) {
  const address = `198.51.100.${(addresses += 1)}`;
  const attacker = fork(ATTACKER, [name, url, address, `${SECONDS}`]);
  const told = () => new Promise((resolve) => attacker.once("message", resolve));
  assert.deepEqual(await within(60_000, told(), "attacker"), { ready: true });
  const memory = resident();
  let most = memory;
  const watch = setInterval(() => (most = Math.max(most, resident())), 100);
  try {
    const met = told();
    attacker.send("go");
    const times = await trade.jobs(SECONDS * 1000);
    const answer = await within(60_000, met, "attacker's end");
    return { ...answer, median: median(times), jobs: times.length, grown: most - memory };
  } finally {
    clearInterval(watch);
    attacker.kill();
  }
}

/** Rows that have been paid since this was last asked; the numbers are shared for a second. */
async function rowsSince() {
  await sleep(1100);
  const [before, { today }] = [rowsKnown, (await relay.stats()).storage.rows];
  rowsKnown = today;
  return today - before;
}

before(async () => {
  const proxy = NATIVE ? { FORWARDED_HEADER: "CF-Connecting-IP", TRUSTED_PROXIES: "127.0.0.0/8", GATEWAYS: 1 } : {};
  // Bursts are a second's, so that the rates are met within seconds; the rates of one key and of guests are untouched.
  const limits = {
    RATE_LIMITS: "on",
    RATE_GUEST: "events 10/10 queries 5/5 bytes 65536/65536",
    RATE_AGENT: "events 20/20 queries 20/20 bytes 262144/262144",
    RATE_NETWORK: "events 100/100 queries 100/100 bytes 2621440/2621440",
    ROWS_PER_DAY,
    MAX_UNHEARD_BYTES: 10_000_000,
  };
  relay = await startRelay({ vars: { ...proxy, ...limits, STATS_SHARED_SECONDS: 1 } });
});

after(() => relay?.stop());

for (const attack of SIEGE) {
  test(attack.name, { timeout: 300_000 }, async (t) => {
    // Anew, as one network has a tenth of an hour's rows.
    trade = await traders();
    t.after(() => trade.close());
    await trade.jobs(1000);
    await rowsSince();
    let slower = Infinity;
    for (let round = 0; round < ROUNDS && slower > 2; round++) {
      const alone = await besiege(attack, "nobody");
      const under = await besiege(attack, relay.http.replace("http", "ws"));
      slower = Math.min(slower, under.median / alone.median);
      const rows = await rowsSince();
      const { grown, jobs } = under;
      t.diagnostic(`jobs take ${(under.median / alone.median).toFixed(2)} times as long; ${JSON.stringify({ ...under, rows, alone: alone.median })}`);
      assert.ok(jobs > SECONDS, `${jobs} jobs were done`);
      assert.ok(grown < GROWTH, `the relay has grown by ${Math.round(grown / MIB)} MiB`);
      // The attacker and the two are a network each.
      assert.ok(rows <= (2 * ROWS_PER_DAY) / 240, `${rows} rows`);
      const refused = Object.values(under.refused).reduce((sum, n) => sum + n, 0);
      if (attack.must === "ended") assert.ok(under.ended > 0, `nothing ended it: ${JSON.stringify(under)}`);
      if (attack.must === "refused") assert.ok(refused + under.ended > 0, `nothing was refused: ${JSON.stringify(under)}`);
    }
    assert.ok(slower <= 2, `an honest job takes ${slower.toFixed(2)} times as long`);
  });
}
