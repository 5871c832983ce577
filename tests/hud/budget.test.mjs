// What an open page costs: requests of the Worker in an hour that is seen, and in one that is not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NATIVE, agent, sleep } from "../support/relay.mjs";
import { eventually, launch, open, relayForPages } from "./browser.mjs";
import { market } from "./market.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const HOUR = 3600;
const STEP = 5;
/** What the page may ask of the Worker in an hour. */
const MOST = 150;

/** A relay that tells how many requests came to its Worker, and all that has changed: the page's clock runs faster than its own. */
async function countingRelay() {
  const { counting } = await import("../support/worker.mjs");
  return relayForPages({ vars: { STATS_SHARED_SECONDS: "0" }, ...(NATIVE ? {} : counting()) });
}

/** Lets an hour pass on a page whose clock is ours, and answers come meanwhile. */
async function hour(page) {
  for (let passed = 0; passed < HOUR; passed += STEP) {
    await page.clock.runFor(STEP * 1000);
    await sleep(15);
  }
}

/** Counts the page's requests but those for files; `hide` says what the page is told. */
async function watched(relay, path, hide) {
  const asked = [];
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.clock.install();
  await page.addInitScript(() => {
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    globalThis.hide = (value) => ((hidden = value), document.dispatchEvent(new Event("visibilitychange")));
  });
  await page.goto(`${relay.http}${path}`);
  await page.waitForSelector('body[data-state="live"]');
  if (hide) {
    await page.evaluate(() => globalThis.hide(true));
    await sleep(500);
  }
  const isFile = (name) => /^\/[\w-]+\.(js|css|svg)$/.test(name);
  return { page, of: () => asked.filter((name) => !isFile(name)), done: () => context.close() };
}

test("an hour that is seen, while the market is busy, is at most 150 requests of the Worker", async () => {
  const relay = await countingRelay();
  const trade = await market(relay);
  trade.run(100, 20);
  const before = await relay.counted?.();
  const seen = await watched(relay, "", false);
  await hour(seen.page);
  const count = seen.of();
  assert.ok(count.length <= MOST && count.length >= 100, `${count.length} requests`);
  // The files are none of the Worker's requests; all else is one.
  if (relay.counted) await eventually(async () => assert.equal((await relay.counted()) - before, count.length));
  // Whoever goes away and comes back all the time has no more.
  for (let n = 0; n < 400; n++) {
    await seen.page.evaluate((hidden) => globalThis.hide(hidden), n % 2 === 0);
    await seen.page.clock.runFor(4000);
  }
  assert.ok(seen.of().length <= count.length + MOST, `${seen.of().length} requests`);
  await seen.done();
  await trade.stop();
  trade.close();
  await relay.stop();
});

test("an hour that is not seen is none, and one in which nothing happens few", async () => {
  const relay = await countingRelay();
  const hidden = await watched(relay, "", true);
  const before = hidden.of().length;
  await hour(hidden.page);
  assert.equal(hidden.of().length, before);
  await hidden.done();
  const idle = await watched(relay, "", false);
  await hour(idle.page);
  assert.ok(idle.of().length <= 30, `${idle.of().length} requests`);
  await idle.done();
  await relay.stop();
});

test("a job's page is no dearer: few while the job is open, none when it is not seen", async () => {
  const relay = await countingRelay();
  const buyer = await agent(relay);
  const { id } = await buyer.publish({ kind: 5050, tags: [["i", "x", "text"]] });
  const seen = await watched(relay, `/jobs/${id}`, false);
  await hour(seen.page);
  assert.ok(seen.of().length <= 30, `${seen.of().length} requests`);
  await seen.page.evaluate(() => globalThis.hide(true));
  const before = seen.of().length;
  await hour(seen.page);
  assert.equal(seen.of().length, before);
  await seen.done();
  buyer.close();
  await relay.stop();
});
