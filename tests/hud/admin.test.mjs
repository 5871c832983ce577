// The owner's page in Chromium, on either host: signs in with real keys, sees who does too much, stops them and takes it back.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { noteEncode, npubEncode } from "nostr-tools/nip19";
import { NATIVE, author, rawAgent, rawClient, seconds, settled, within } from "../support/relay.mjs";
import { SHOTS, eventually, launch, open, overflow, relayForPages, text, violations } from "./browser.mjs";
import { bunker, provider } from "./signers.mjs";

const OWNER = author();
let browser;
let relay;
before(async () => {
  browser = await launch();
  relay = await relayForPages({ vars: { RELAY_PUBKEY: OWNER.pubkey } });
});
after(async () => {
  await browser.close();
  await relay.stop();
});

const short = (name) => `${name.slice(0, 12)}…${name.slice(-6)}`;
const name = (who) => short(npubEncode(who.pubkey));
const admin = (more = {}) => open(browser, more.relay ?? relay, { path: "/admin", live: false, before: provider(more.who ?? OWNER), ...more });
const said = (page, pattern) => eventually(async () => assert.match(await text(page, "#said-text"), pattern));
/** Signs in as the extension's key. */
async function enter(page) {
  await page.click("#extension");
  await page.waitForSelector("#desk:not([hidden])");
  await page.waitForSelector("main:not([aria-busy])");
}
/** Opens a part and waits until it has been read. */
async function unfold(page, part) {
  const summary = page.locator(`#part-${part} > summary`);
  if ((await page.getAttribute(`#part-${part}`, "open")) === null) await summary.click();
  await eventually(async () => assert.notEqual(await text(page, `#part-${part} .count`), ""));
  return page.locator(`#part-${part} .items li`);
}

/** Somebody who sends a lot, and some of it is refused. */
async function spammer(to = relay, count = 30) {
  const who = author();
  const client = await rawAgent(to, who);
  for (let n = 0; n < count; n++) {
    client.send(["EVENT", who.sign({ kind: 1, content: `buy ${n} ${"!".repeat(400)}` })]);
    assert.equal((await client.next())[2], true);
  }
  client.send(["EVENT", who.sign({ kind: 1, content: "from tomorrow", created_at: seconds() + 100_000 })]);
  assert.equal((await client.next())[2], false);
  return { who, client };
}

test("on a phone's width the owner sees a spammer, bans him with what he published, and takes it back", async () => {
  const { who, client } = await spammer();
  await settled();
  const page = await admin({ width: 390, height: 844 });
  assert.ok(!(await page.isVisible("#desk")));
  await enter(page);
  assert.equal(await text(page, "#who"), npubEncode(OWNER.pubkey));
  const line = page.locator("#part-senders li", { hasText: name(who) });
  assert.match(await line.textContent(), /31 events, 2\d\.\d kB; the last/);
  const refused = page.locator("#part-refusals li", { hasText: name(who) });
  assert.match(await refused.textContent(), /invalid: .*kind 1, from/);
  assert.equal(await page.getAttribute(`#part-senders [data-act="key ${who.pubkey}"]`, "aria-label"), `Ban: ${name(who)}`);

  await page.fill("#reason", "sells things");
  await page.check("#purge");
  await line.getByRole("button").click();
  assert.equal((await within(5000, client.ended, "end")).code, 1008);
  await said(page, /^npub1.* is banned; its connections have ended\. What it has published is removed\.$/);
  await assert.rejects(rawAgent(relay, who), /blocked:/);
  assert.equal(await line.getByRole("button").textContent(), "Lift the ban");
  const [banned] = await (await unfold(page, "key")).allTextContents();
  assert.ok(banned.includes(name(who)) && banned.includes("“sells things”"), banned);
  const acts = async () => (await (await unfold(page, "audit")).allTextContents()).slice(0, 2);
  assert.match((await acts()).join("\n"), new RegExp(`^purgepubkey ${who.pubkey.slice(0, 8)}….*\nbanpubkey ${who.pubkey.slice(0, 8)}… “sells things”by ${name(OWNER)}`));
  assert.equal(await overflow(page), 0);
  assert.deepEqual(await violations(page), []);

  await page.click("#undo");
  await said(page, /^npub1.* is not banned any more\.$/);
  (await rawAgent(relay, who)).close();
  await eventually(async () => assert.match((await acts())[0], /^unbanpubkey/));
  assert.deepEqual(await page.locator("#part-key .items li").allTextContents(), ["None."]);
  page.clean();
  await page.done();
});

test("networks, events, kinds, members and helpers are ruled over, and each is undone", async () => {
  const writer = author();
  const client = await rawAgent(relay, writer);
  const publish = async (event) => {
    client.send(["EVENT", event]);
    return (await client.next())[3];
  };
  const note = writer.sign({ kind: 1, content: "illegal" });
  assert.equal(await publish(note), "");
  const page = await admin();
  await enter(page);
  const add = async (part, value) => {
    await unfold(page, part);
    await page.fill(`#new-${part}`, value);
    await page.locator(`#part-${part} form button`).click();
  };
  await add("event", noteEncode(note.id));
  await said(page, /^note1.* is banned and removed\.$/);
  assert.match(await publish(note), /^blocked: /);
  await page.click("#undo");
  await said(page, /can be published anew\.$/);
  assert.equal(await publish(note), "");

  await add("kind", "4242");
  await said(page, /^Kind 4242 is not taken any more\.$/);
  assert.match(await publish(writer.sign({ kind: 4242, content: "" })), /^blocked: /);
  await page.locator("#part-kind li button").click();
  await said(page, /^Kind 4242 is taken again\.$/);
  assert.equal(await publish(writer.sign({ kind: 4242, content: "" })), "");

  await add("network", "192.0.2.7/24");
  await said(page, /is blocked; its connections have ended\.$/);
  assert.match(await page.locator("#part-network li").textContent(), /^192\.0\.2\.0\/24“spam”, /);
  await page.click("#undo");
  await said(page, /is not blocked any more\.$/);

  await add("network", "relay.example");
  await said(page, /^The relay says: the first parameter must be an address/);
  await add("member", "hello");
  await said(page, /^That is no public key/);

  await add("member", npubEncode(writer.pubkey));
  await said(page, /is allowed\.$/);
  await page.locator("#part-member li button").click();
  await said(page, /is not allowed any more\.$/);

  // Who is assigned a method sees what belongs to it, and nothing else.
  const helper = author();
  await unfold(page, "manager");
  await page.selectOption("#part-manager select", "banpubkey");
  await add("manager", npubEncode(helper.pubkey));
  await said(page, /: banpubkey is assigned\.$/);
  const theirs = await admin({ who: helper });
  await enter(theirs);
  assert.deepEqual(await theirs.locator(".part h2").allTextContents(), ["Banned keys"]);
  assert.ok(!(await theirs.isVisible("#purges")));
  await theirs.fill("#new-key", writer.pubkey);
  await theirs.locator("#part-key form button").click();
  await said(theirs, /is banned/);
  assert.ok(!(await theirs.isVisible("#undo")), "unbanpubkey is not theirs");
  assert.equal((await within(5000, client.ended, "end")).code, 1008);
  theirs.clean();
  await theirs.done();
  await page.locator("#part-manager li button").click();
  await said(page, /: banpubkey is taken back\.$/);
  page.clean();
  await page.done();
});

test("what goes wrong is told with its cause and what helps", async () => {
  const told = async (more, pattern, act = (page) => page.click("#extension")) => {
    const page = await admin({ scheme: "light", ...more });
    await act(page);
    await said(page, pattern);
    assert.ok(await page.isVisible("#enter"));
    assert.deepEqual(await violations(page), []);
    await page.done();
  };
  const stranger = author();
  const [you, owner] = [npubEncode(stranger.pubkey), npubEncode(OWNER.pubkey)];
  await told({ who: stranger }, new RegExp(`^You are ${you}, .*The owner is ${owner} \\(RELAY_PUBKEY\\): sign in with that key`));
  await told({ before: { content: "" } }, /^This browser has no extension that signs \(NIP-07\)\. Install one/);
  const refusing = { content: `${provider(OWNER).content}; nostr.signEvent = async () => { throw new Error("user rejected") };` };
  await told({ before: refusing }, /^The extension has not signed \(user rejected\)\. Unlock it/);
  const fast = { content: `${provider(OWNER).content}; const now = Date.now; Date.now = () => now() + 600_000;` };
  // By how much is told by the answer's Date, which workerd by itself does not send.
  const by = NATIVE ? " by (9|10) min: it is fast" : "( by (9|10) min: it is fast)?";
  await told({ before: fast }, new RegExp(`^The clock of this device differs from the relay's${by}\\. Set it`));
  const bare = await relayForPages({ vars: { RELAY_PUBKEY: "" } });
  await told({ relay: bare }, /^This relay has no owner.*Set RELAY_PUBKEY/);
  await bare.stop();
  const elsewhere = await relayForPages({ vars: { RELAY_PUBKEY: OWNER.pubkey, RELAY_URL: "wss://nexus.example" } });
  await told({ relay: elsewhere }, /^The relay does not know the address 127\.0\.0\.1:\d+\. Open this page at an address that RELAY_URL names/);
  await elsewhere.stop();
  const give = (address) => async (page) => {
    await page.click("#remote summary");
    await page.fill("#bunker-uri", address);
    await page.click("#bunker button");
    assert.equal(await page.inputValue("#bunker-uri"), "");
  };
  await told({}, /^That looks like a secret key, which belongs into no page/, give("nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"));
  await told({}, /^That is no address of a signer\. It has the form bunker:/, give("bunker://12"));
  const silent = `bunker://${author().pubkey}?relay=${encodeURIComponent(relay.ws)}`;
  await told({}, /^The signer does not listen at its relay\./, give(silent));
});

test("a signer elsewhere signs, by its address or by a link that it follows", async () => {
  const signer = await bunker(relay, OWNER);
  const page = await admin({ before: { content: "" }, width: 390, height: 844 });
  const scripts = [];
  page.on("request", (request) => request.url().endsWith(".js") && scripts.push(new URL(request.url()).pathname));
  await page.click("#remote summary");
  assert.deepEqual(scripts, []);
  await page.fill("#bunker-uri", signer.address);
  await page.click("#bunker button");
  await page.waitForSelector("#desk:not([hidden])");
  assert.deepEqual(scripts, ["/bunker.js"]);
  assert.equal(await text(page, "#who"), npubEncode(OWNER.pubkey));
  await page.waitForSelector("main:not([aria-busy])");
  // The methods, and the two parts that are open.
  assert.deepEqual(signer.asked, ["connect", "get_public_key", "sign_event", "sign_event", "sign_event"]);
  await page.click("#leave");
  assert.ok(!(await page.isVisible("#desk")));

  await page.click("#invite button");
  await page.waitForSelector("#link:not([hidden])");
  const link = await page.getAttribute("#link-open", "href");
  assert.match(link, /^nostrconnect:\/\/[0-9a-f]{64}\?/);
  assert.equal(await overflow(page), 0);
  assert.deepEqual(await violations(page), []);
  await signer.follow(link);
  await page.waitForSelector("#desk:not([hidden])");
  await eventually(async () => assert.ok((await page.locator("#part-senders li").count()) > 0));
  await signer.close();
  page.clean();
  await page.done();
});

test("the page may reach relays of signers and nothing else, and the front page leads to it", async () => {
  const policy = async (path) => (await fetch(`${relay.http}${path}`, { headers: { Accept: "text/html" } })).headers.get("content-security-policy");
  assert.match(await policy("/admin"), /default-src 'none';.*connect-src 'self' wss:;/);
  assert.match(await policy("/"), /connect-src 'self';/);
  assert.equal((await policy("/admin")).replace(" wss:", ""), await policy("/"));
  const page = await open(browser, relay);
  await page.click('footer a[href="/admin"]');
  await page.waitForSelector("#extension");
  page.clean();
  await page.done();
});

test("both themes, wide and narrow, and by the keyboard alone", async () => {
  const sender = await spammer(relay, 12);
  const guest = await rawClient(relay.ws);
  guest.send("nonsense");
  await settled();
  for (const scheme of ["dark", "light"]) {
    for (const width of [1280, 390]) {
      const page = await admin({ width, height: 844, scheme });
      assert.deepEqual(await violations(page), [], `${scheme}, ${width}, before`);
      await page.focus("#extension");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#part-refusals li");
      for (const part of ["key", "network", "audit"]) {
        await page.focus(`#part-${part} summary`);
        await page.keyboard.press("Enter");
        await unfold(page, part);
      }
      const act = `#part-senders [data-act="key ${sender.who.pubkey}"]`;
      await page.focus(act);
      await page.keyboard.press("Enter");
      await said(page, /is banned/);
      const focused = () => page.evaluate(() => document.activeElement.dataset.act);
      await eventually(async () => assert.equal(await focused(), `key ${sender.who.pubkey}`));
      assert.equal(await overflow(page), 0, `${scheme}, ${width}`);
      assert.deepEqual(await violations(page), [], `${scheme}, ${width}`);
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: `${SHOTS}/admin-${scheme}-${width}.png` });
      await page.screenshot({ path: `${SHOTS}/admin-${scheme}-${width}-whole.png`, fullPage: true });
      await page.keyboard.press("Enter");
      await said(page, /is not banned any more/);
      page.clean();
      await page.done();
    }
  }
  guest.close();
});
