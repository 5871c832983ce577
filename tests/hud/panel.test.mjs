// The Try-it panel, and the page for everybody: both themes, a phone, the keyboard, a screen reader.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { agent } from "../support/relay.mjs";
import { SHOTS, eventually, launch, open, overflow, relayForPages, text, violations } from "./browser.mjs";
import { market } from "./market.mjs";
import { past } from "./past.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const said = (page) => page.locator("#messages > li").evaluateAll((all) => all.map((item) => `${item.className} ${item.dataset.verb}`));

test("Try it completes a job, with each message explained", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay);
  await page.click(".connect a[href='#try']");
  assert.equal(await page.isChecked("#play"), true);
  await page.fill("#prompt", "Is this real?");
  await page.click("#send");
  await eventually(async () => assert.match(await text(page, "#try-state"), /^Done: asked, answered and delivered in [\d.]+ s\.$/));
  assert.match(await text(page, "#answer"), /^You asked: “Is this real\?”/);
  const seen = await said(page);
  const buyer = seen.filter((one) => one.includes("buyer"));
  assert.deepEqual(buyer, [
    "in buyer AUTH",
    "out buyer AUTH",
    "in buyer OK",
    "out buyer REQ",
    "in buyer EOSE",
    "out buyer EVENT",
    "in buyer OK",
    "in buyer EVENT",
    "in buyer EVENT",
    "out buyer CLOSE",
  ]);
  assert.deepEqual(seen.filter((one) => one.includes("provider EVENT")), ["in provider EVENT", "out provider EVENT", "out provider EVENT"]);
  const explained = await page.locator("#messages > li > p").allTextContents();
  assert.ok(explained.every((line) => line.length > 30), explained.join("\n"));
  // The whole message is one click away.
  await page.locator("#messages details").nth(5).locator("summary").click();
  assert.match(await page.locator("#messages details").nth(1).locator("pre").textContent(), /"kind": 22242/);
  // Numbers are shared for a moment.
  await eventually(async () => {
    const { jobs } = await relay.stats();
    assert.deepEqual([jobs.requested, jobs.with_feedback, jobs.with_result], [1, 1, 1]);
  });
  // Both have left, and both events of the page are to expire.
  await eventually(async () => assert.equal((await relay.stats()).connections.open, 0));
  const { results: kept } = await relay.db.prepare("SELECT count(*) AS n FROM events WHERE expires_at IS NULL").all();
  assert.equal(kept[0].n, 0);
  await page.screenshot({ path: `${SHOTS}/try.png`, fullPage: true });
  page.clean();
  await page.done();
  await relay.stop();
});

test("a real provider answers when there is one; without any the wait can be ended", async () => {
  const relay = await relayForPages();
  const provider = await agent(relay);
  await provider.publish({ kind: 31990, tags: [["d", "real"], ["k", "5050"]], content: '{"name":"Real"}' });
  const jobs = await provider.watch({ kinds: [5050] });
  const page = await open(browser, relay);
  await eventually(async () => assert.equal(await page.isChecked("#play"), false));
  await page.click("#send");
  const job = await jobs.next();
  assert.ok(!job.tags.some(([name]) => name === "p"), "for everybody");
  await eventually(async () => assert.equal(await text(page, "#try-state"), "The job is stored. Waiting for a provider…"));
  await provider.publish({ kind: 7000, tags: [["status", "processing"], ["e", job.id], ["p", job.pubkey]] });
  await eventually(async () => assert.equal(await text(page, "#try-state"), "Feedback: processing"));
  await provider.publish({ kind: 6050, tags: [["e", job.id], ["p", job.pubkey]], content: "<b>from outside</b>" });
  await eventually(async () => assert.match(await text(page, "#try-state"), /^Done/));
  assert.equal(await text(page, "#answer"), "<b>from outside</b>");
  await page.click("#send");
  await eventually(async () => assert.match(await text(page, "#try-state"), /^The job is stored/));
  await page.click("#send");
  await eventually(async () => assert.equal(await text(page, "#try-state"), "Not done: stopped."));
  assert.equal(await text(page, "#send"), "Send the job");
  provider.close();
  page.clean();
  await page.done();
  await relay.stop();
});

test("both themes and a phone: nothing overflows, axe-core finds nothing serious", async () => {
  const relay = await relayForPages({ seed: past });
  const trade = await market(relay);
  for (let n = 0; n < 12; n++) await trade.job(2);
  for (const scheme of ["dark", "light"]) {
    for (const width of [1280, 390]) {
      const page = await open(browser, relay, { width, height: 844, scheme });
      await page.waitForSelector(".u-over");
      await page.check("#play"); // the market is still: its providers do not answer
      await page.click("#send");
      await eventually(async () => assert.match(await text(page, "#try-state"), /^Done/));
      await page.locator(".plot summary").first().click();
      assert.equal(await overflow(page), 0, `${scheme}, ${width}`);
      assert.deepEqual(await violations(page), [], `${scheme}, ${width}`);
      await page.screenshot({ path: `${SHOTS}/${scheme}-${width}.png`, fullPage: true });
      page.clean();
      await page.done();
    }
  }
  trade.close();
  await relay.stop();
});

test("the theme follows the system until it is chosen, and the choice is kept", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay, { scheme: "light" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.emulateMedia({ colorScheme: "dark" });
  await eventually(async () => assert.notEqual(await paper(), light));
  assert.equal(await page.getAttribute("#theme", "aria-pressed"), "true");
  await page.click("#theme");
  assert.equal(await paper(), light);
  await page.reload();
  assert.equal(await paper(), light);
  page.clean();
  await page.done();
  await relay.stop();
});

test("everything is done with the keyboard alone", async () => {
  const relay = await relayForPages({ seed: past });
  const page = await open(browser, relay);
  await page.waitForSelector(".u-over");
  const at = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
  await page.keyboard.press("Tab");
  assert.equal(await at(), "Skip to the numbers");
  await page.keyboard.press("Enter");
  assert.equal(await at(), "main");
  const reached = [];
  for (let n = 0; n < 60 && reached.at(-1) !== "play"; n++) {
    await page.keyboard.press("Tab");
    reached.push(await at());
  }
  for (const stop of ["kind", "prompt", "send", "play", "As a table", "success"]) assert.ok(reached.includes(stop), `${stop} in ${reached}`);
  await page.focus("#prompt");
  await page.keyboard.press("Enter");
  await eventually(async () => assert.match(await text(page, "#try-state"), /^Done/));
  await page.focus('input[value="minute"]');
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.isChecked('input[value="hour"]'), true);
  page.clean();
  await page.done();
  await relay.stop();
});
