// What comes late, fails, or is stopped half-way leaves nothing wrong on the page and nobody connected.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { agent, sleep } from "../support/relay.mjs";
import { eventually, launch, look, open, relayForPages, text, violations } from "./browser.mjs";
import { past } from "./past.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const refuse = (route) => route.fulfill({ status: 503, json: { error: "not now" } });
const open0 = (relay) => eventually(async () => assert.equal((await relay.stats()).connections.open, 0));

test("a job that is stopped while it connects is stopped", async () => {
  const relay = await relayForPages({ vars: { STATS_SHARED_SECONDS: "0" } });
  const page = await open(browser, relay);
  await page.evaluate(() => {
    document.getElementById("send").click();
    document.getElementById("send").click();
  });
  await eventually(async () => assert.equal(await text(page, "#try-state"), "Not done: stopped."));
  assert.equal(await text(page, "#send"), "Send the job");
  await open0(relay);
  assert.equal((await relay.stats()).jobs.requested, 0);
  page.clean();
  await page.done();
  await relay.stop();
});

test("a key that is refused leaves no connection behind", async () => {
  const relay = await relayForPages({ vars: { RELAY_URL: "wss://elsewhere.example", STATS_SHARED_SECONDS: "0" } });
  const page = await open(browser, relay);
  await page.click("#send");
  await eventually(async () => assert.match(await text(page, "#try-state"), /^Not done: /));
  await open0(relay);
  page.clean();
  await page.done();
  await relay.stop();
});

test("plots of a step that cannot be read do not stand under its name", async () => {
  const relay = await relayForPages({ seed: past });
  const page = await open(browser, relay);
  await page.waitForSelector(".u-over");
  await page.route("**/api/history?step=hour", refuse);
  await page.check('input[value="hour"]', { force: true });
  await eventually(async () => assert.equal(await text(page, "#no-history"), "The history cannot be read: not now"));
  assert.equal(await page.isVisible("#plots"), false);
  await page.check('input[value="minute"]', { force: true });
  await eventually(async () => assert.ok(await page.isVisible('[data-plot="events"] canvas')));
  // What is drawn stays when only the next reading fails; a late answer to another step changes nothing.
  await page.unroute("**/api/history?step=hour");
  let late;
  await page.route("**/api/history?step=hour", (route) => (late = route));
  await page.check('input[value="hour"]', { force: true });
  await eventually(() => assert.ok(late));
  await page.check('input[value="minute"]', { force: true });
  await refuse(late);
  await sleep(300);
  assert.equal(await page.isVisible("#no-history"), false);
  await page.done();
  await relay.stop();
});

test("providers of one kind do not stand under another", async () => {
  const relay = await relayForPages();
  const provider = await agent(relay);
  await provider.publish({ kind: 31990, tags: [["d", "x"], ["k", "5050"]], content: '{"name":"Echo"}' });
  const page = await open(browser, relay);
  const rows = () => page.locator("#providers tbody tr").count();
  await eventually(async () => assert.equal(await rows(), 1));
  const held = [];
  await page.route("**/api/handlers?k=*", (route) => held.push(route));
  const show = async (kind) => {
    await page.fill("#kind", kind);
    await page.press("#kind", "Enter");
  };
  await show("5100");
  await eventually(() => assert.equal(held.length, 1));
  await refuse(held[0]);
  await eventually(async () => assert.equal(await text(page, "#providers-said"), "5100 image generation: not known (not now)"));
  assert.equal(await rows(), 0);
  // Two questions, answered the other way round.
  await show("5002");
  await show("5050");
  await eventually(() => assert.equal(held.length, 3));
  await held[2].continue();
  await eventually(async () => assert.equal(await rows(), 1));
  await refuse(held[1]);
  await sleep(300);
  assert.equal(await text(page, "#providers-said"), "5050 text generation: 1 announced, 1 online");
  provider.close();
  await page.done();
  await relay.stop();
});

test("who goes by keyboard stays where he was when the kinds change their order", async () => {
  const relay = await relayForPages({ seed: past });
  const page = await open(browser, relay);
  let kinds = ["5050", "5100"];
  await page.route("**/api/stats", async (route) => {
    const stats = await (await route.fetch()).json();
    stats.jobs.by_kind = Object.fromEntries(kinds.map((kind, n) => [kind, { success: 9 - n }]));
    await route.fulfill({ json: stats });
  });
  const buttons = () => page.locator("#known button").allTextContents();
  await eventually(async () => assert.deepEqual(await buttons(), ["5050", "5100"]));
  await page.focus('#known button:text-is("5100")');
  kinds = ["5100", "5050"];
  await eventually(async () => {
    await look(page);
    assert.deepEqual(await buttons(), ["5100", "5050"]);
  });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "5100");
  page.clean();
  await page.done();
  await relay.stop();
});

test("a description that cannot be read is no relay that cannot be reached", async () => {
  const relay = await relayForPages({ vars: { RELAY_NAME: "Late" } });
  let refusing = true;
  const page = await open(browser, relay, { live: false });
  const described = (route) => (refusing && route.request().headers().accept === "application/nostr+json" ? refuse(route) : route.fallback());
  await page.route(`${relay.http}/`, described);
  await page.reload();
  await page.waitForSelector('body[data-state="live"]');
  assert.equal(await text(page, "#name"), "Nexus");
  refusing = false;
  await eventually(async () => {
    await look(page);
    assert.equal(await text(page, "#name"), "Late");
  });
  await page.done();
  await relay.stop();
});

test("values of a line that is hidden are not said", async () => {
  const relay = await relayForPages({ seed: past });
  const page = await open(browser, relay);
  await page.waitForSelector(".u-over");
  const said = () => text(page, '[data-plot="latency"] .readout');
  await eventually(async () => assert.match(await said(), /p99/));
  await page.locator('[data-plot="latency"] .legend button').last().click();
  assert.doesNotMatch(await said(), /p99/);
  // What is under the pointer stays under it when newer numbers come.
  await page.locator('[data-plot="latency"] .legend button').last().click();
  const over = page.locator('[data-plot="latency"] .u-over');
  await over.hover({ position: { x: 200, y: 50 } });
  const minute = async () => {
    const [, hours, minutes] = /(\d\d):(\d\d):/.exec(await said());
    return 60 * Number(hours) + Number(minutes);
  };
  const pointed = await minute();
  await sleep(16_000); // what is younger is not read again
  const [read] = await Promise.all([page.waitForResponse("**/api/history?step=minute"), look(page)]);
  await read.finished();
  await sleep(300);
  // The plot has moved on by a minute at the most; the newest is hours away.
  const moved = ((await minute()) - pointed + 1440) % 1440;
  assert.ok(moved <= 2, `${moved} minutes`);
  page.clean();
  await page.done();
  await relay.stop();
});

test("where the numbers are the owner's the page says what is needed, and asks no more", async () => {
  const relay = await relayForPages({ vars: { STATS: "owners", RELAY_NAME: "Closed" } });
  const page = await open(browser, relay, { live: false });
  await eventually(async () => assert.equal(await text(page, "#state-text"), "The numbers are for the relay's owner"));
  assert.ok(await page.isVisible("#closed"));
  assert.equal(await text(page, "#closed-how"), `nak curl --sec $OWNER ${relay.http}/api/stats`);
  await eventually(async () => assert.equal(await text(page, "#name"), "Closed"));
  assert.equal(await page.isVisible("#first"), false);
  assert.deepEqual(await violations(page), []);
  await sleep(500);
  let asked = 0;
  page.on("request", () => asked++);
  await sleep(7000);
  assert.equal(asked, 0);
  // A job's page lets its parties prove themselves.
  const buyer = await agent(relay);
  const job = await buyer.publish({ kind: 5050, tags: [["i", "x", "text"]] });
  await page.goto(`${relay.http}/jobs/${job.id}`);
  await eventually(async () => assert.match(await text(page, "#unknown-why"), /^auth-required: sign the request \(NIP-98\)/));
  assert.ok(await page.isVisible("#more"));
  buyer.close();
  await page.done();
  await relay.stop();
});
