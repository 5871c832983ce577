// A job's page in Chromium, on either host: its way with times, who answered and for how much, what its parties see more, and
// what it costs to leave it open.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { agent, author, sleep } from "../support/relay.mjs";
import { SHOTS, eventually, launch, look, open, overflow, relayForPages, text, violations } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const rows = (page) => page.locator("#answers tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
const way = (page) => page.locator("#way li").evaluateAll((all) => all.map((line) => line.dataset.state));
const asked = (page) => page.locator("#asked > div").evaluateAll((all) => Object.fromEntries(all.map((line) => [...line.children].map((part) => part.textContent))));

/** A buyer, a provider, and a job of theirs. */
async function trade(relay, tags = []) {
  const [buyer, provider] = [await agent(relay), await agent(relay)];
  const job = await buyer.publish({ kind: 5050, tags: [["i", "a secret question", "text"], ["bid", "9000"], ["p", provider.pubkey], ...tags] });
  const about = [["e", job.id], ["p", buyer.pubkey]];
  const answer = (kind, more = []) => provider.publish({ kind, tags: [...about, ...more], content: "a secret answer" });
  return { buyer, provider, job, answer, close: () => [buyer, provider].forEach((who) => who.close()) };
}

test("a job's page follows the job, and names no content", async () => {
  const relay = await relayForPages();
  const { buyer, provider, job, answer, close } = await trade(relay);
  const page = await open(browser, relay, { path: `/jobs/${job.id}` });
  assert.deepEqual([await text(page, "#title"), await text(page, "#id"), await way(page)], ["Job: open", job.id, ["open"]]);
  assert.equal(await text(page, "#answers caption"), "Nobody has answered yet");
  await answer(7000, [["status", "payment-required"], ["amount", "21000", "lnbc1secret"]]);
  await sleep(1200);
  await answer(6050, [["amount", "21000"]]);
  await eventually(async () => {
    await look(page);
    assert.deepEqual(await way(page), ["open", "payment-required", "success"]);
  });
  assert.equal(await text(page, "#title"), "Job: success");
  assert.equal(await page.title(), `Job ${job.id.slice(0, 8)}…: success`);
  const answers = (await rows(page)).map((cells) => [cells[0], cells[1], cells[2], cells[5]]);
  const who = `${provider.pubkey.slice(0, 8)}…`;
  assert.deepEqual(answers, [[who, "payment-required", "7000", "21,000 msats"], [who, "result", "6050", "21,000 msats"]]);
  assert.match((await rows(page))[1][4], /^[\d.]+ s$/);
  const shown = await asked(page);
  assert.deepEqual([shown.Kind, shown.Customer, shown.Asked, shown.Offered], ["5050 text generation", buyer.pubkey, provider.pubkey, "9,000 msats"]);
  assert.deepEqual([shown["First result by"], shown["Answers are"]], [provider.pubkey, "for everybody"]);
  assert.doesNotMatch(await page.content(), /secret/);
  // It is cancelled: that is its last state.
  await buyer.publish({ kind: 5, tags: [["e", job.id]] });
  await eventually(async () => {
    await look(page);
    assert.equal((await way(page)).at(-1), "cancelled");
  });
  close();
  page.clean();
  await page.done();
  await relay.stop();
});

test("the page is reached from the HUD: by an id, and from the panel", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay);
  await page.click("#send");
  await eventually(async () => assert.match(await text(page, "#try-state"), /^Done/));
  await page.click("#page-of-job a");
  await page.waitForSelector('body[data-state="live"] #way li[data-state="success"]');
  const id = await text(page, "#id");
  await page.click('a:text-is("The relay\'s numbers")');
  await page.waitForSelector('body[data-state="live"] #find');
  await page.fill("#job-id", id);
  await page.press("#job-id", "Enter");
  await page.waitForSelector('body[data-state="live"] #way li[data-state="success"]');
  assert.equal(new URL(page.url()).pathname, `/jobs/${id}`);
  page.clean();
  await page.done();
  await relay.stop();
});

test("a job that is not known is said to be, and is not asked for again", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay, { path: `/jobs/${"0".repeat(64)}`, live: false });
  await eventually(async () => assert.match(await text(page, "#unknown-why"), /^no job of this id is known here/));
  assert.equal(await page.isVisible("#known"), false);
  let reads = 0;
  page.on("request", () => reads++);
  await sleep(7000);
  assert.equal(reads, 0);
  await page.done();
  await relay.stop();
});

test("both themes and a phone: nothing overflows, axe-core finds nothing serious", async () => {
  const relay = await relayForPages();
  const { job, answer, close } = await trade(relay);
  await answer(7000, [["status", "processing"]]);
  await answer(7000, [["status", "thinking"]]);
  await answer(6050, [["amount", "21000"]]);
  for (const scheme of ["dark", "light"]) {
    for (const width of [1280, 390]) {
      const page = await open(browser, relay, { path: `/jobs/${job.id}`, width, height: 844, scheme });
      assert.equal((await rows(page)).length, 3);
      assert.equal(await overflow(page), 0, `${scheme}, ${width}`);
      assert.deepEqual(await violations(page), [], `${scheme}, ${width}`);
      await page.screenshot({ path: `${SHOTS}/job-${scheme}-${width}.png`, fullPage: true });
      page.clean();
      await page.done();
    }
  }
  close();
  await relay.stop();
});

/** A provider object as an extension has it (NIP-07), with the key of `who`; the page never has the key. */
async function withKey(page, who) {
  await page.exposeFunction("signFor", (template) => who.sign(template));
  await page.addInitScript(() => {
    globalThis.nostr = { getPublicKey: async () => "", signEvent: (template) => globalThis.signFor(template) };
  });
  await page.reload();
  await page.waitForSelector('body[data-state="live"]');
}

test("of an encrypted job strangers see states and times, and its parties more when they sign", async () => {
  const relay = await relayForPages();
  const { buyer, provider, job, answer, close } = await trade(relay, [["encrypted"]]);
  await answer(6050, [["amount", "21000"]]);
  const page = await open(browser, relay, { path: `/jobs/${job.id}` });
  await eventually(async () => assert.deepEqual(await way(page), ["open", "success"]));
  assert.equal(await page.isVisible("#answered"), false);
  assert.deepEqual(Object.keys(await asked(page)), ["Answers are", "First result", "Kept until"]);
  for (const who of [buyer, provider]) assert.doesNotMatch(await page.content(), new RegExp(who.pubkey.slice(0, 8)));
  assert.match(await text(page, "#more-text"), /^The job's parties are shown all .* there is none here\.$/);
  assert.equal(await page.isVisible("#prove"), false);
  await page.done();
  for (const [who, sees] of [[author(), false], [buyer, true], [provider, true]]) {
    const party = await open(browser, relay, { path: `/jobs/${job.id}` });
    await withKey(party, who);
    await party.click("#prove");
    await eventually(async () => assert.equal(await text(party, "#state-text"), "As your key may see it"));
    assert.equal(await party.isVisible("#answered"), sees);
    if (sees) assert.deepEqual((await rows(party)).map((cells) => cells[5]), ["21,000 msats"]);
    else assert.match(await text(party, "#more-text"), /^The key that was proven is no party of this job/);
    party.clean();
    await party.done();
  }
  close();
  await relay.stop();
});
