// The HUD in Chromium, on either host: it shows the true numbers while a market runs, draws them
// over time, and says so when it cannot.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NATIVE, agent, rawClient, sleep } from "../support/relay.mjs";
import { SHOTS, eventually, launch, line, look, open, parse, relayForPages, text, tile } from "./browser.mjs";
import { market } from "./market.mjs";
import { QUIET, past } from "./past.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

test("with no data yet it says how to send the first job", async () => {
  const relay = await relayForPages({ vars: { RELAY_NAME: "Market of Nothing" } });
  const page = await open(browser, relay);
  await eventually(async () => assert.equal(await text(page, "#name"), "Market of Nothing"));
  assert.equal(await page.title(), "Market of Nothing");
  assert.equal(await text(page, "#description"), "A Nostr relay for the agents' compute market");
  assert.match(await text(page, "#identity"), /npub10xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqpkge6d/);
  assert.ok(await page.isVisible("#first"));
  const url = `ws://127.0.0.1:${relay.port}`;
  assert.equal(await text(page, "#url"), url);
  assert.match(await text(page, "#with-nak"), new RegExp(`^nak event .*-k 5050 .* ${url}$`));
  assert.deepEqual([await tile(page, "open"), await tile(page, "fill"), await tile(page, "p50")], ["0", "–", "–"]);
  assert.match(await text(page, "#no-history"), /Nothing has happened yet/);
  await page.screenshot({ path: `${SHOTS}/empty.png`, fullPage: true });
  page.clean();
  await page.done();
  await relay.stop();
});

test("it shows the true numbers while a market runs", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay);
  const trade = await market(relay);
  await trade.nonsense();
  await trade.nonsense();
  const guest = await rawClient(relay.ws); // proves no key
  (await rawClient(relay.ws)).close();
  trade.run(100, 30);
  // Alive: the pace is shown, and near what the relay itself counts between two readings, and it moves while nothing is read.
  await sleep(9000);
  const first = await relay.stats();
  await sleep(4000);
  const second = await relay.stats();
  const measured = (second.events.stored - first.events.stored) / (second.uptime_seconds - first.uptime_seconds);
  await sleep(3000);
  let asked = 0;
  page.on("request", () => asked++);
  const seen = new Set();
  for (let n = 0; n < 12; n++) {
    seen.add(await text(page, '.block[data-state="success"] .count'));
    await sleep(500);
  }
  assert.ok(seen.size >= 3 && asked <= 3, `${[...seen]} seen with ${asked} requests`);
  assert.match(await text(page, "#state"), /Live – events and jobs as they were \d+ s ago/);
  const shown = parse(await tile(page, "rate"));
  assert.ok(Math.abs(shown - measured) < measured / 2, `${shown} shown, ${measured.toFixed(1)} measured`);
  assert.equal(await page.isVisible("#first"), false);
  await trade.stop();
  // Exact: when all is still, each number is the relay's.
  await sleep(3200); // what the edge shares is three seconds old at most
  const stats = await relay.stats();
  const { jobs, storage } = stats;
  assert.ok(jobs.requested > 80 && jobs.states.error > 0 && jobs.states.cancelled > 0);
  const expected = {
    connections: 6,
    agents: 5,
    providers: 3,
    open: jobs.states.open,
    fill: Math.round(jobs.fill_rate * 1000) / 10,
  };
  await eventually(async () => {
    await look(page);
    for (const [name, value] of Object.entries(expected)) assert.equal(parse(await tile(page, name)), value, name);
    for (const [name, key] of [["p50", "p50_ms"], ["p99", "p99_ms"]]) {
      const [value, unit] = (await tile(page, name)).split(" ");
      const ms = Number(value) * { ms: 1, s: 1000 }[unit];
      assert.ok(Math.abs(ms - jobs.time_to_result[key]) <= 5, `${name}: ${ms} ms, ${jobs.time_to_result[key]} in the numbers`);
    }
    for (const [state, count] of Object.entries(jobs.states)) {
      assert.equal(parse(await text(page, `.block[data-state="${state}"] .count`)), count, state);
    }
  });
  assert.equal(parse((await text(page, '[data-tile="rate"] .below')).split(" ")[0]), stats.events.stored);
  const kinds = await rows(page, "#kinds");
  for (const [kind, states] of Object.entries(jobs.by_kind)) {
    const row = kinds.find(([name]) => name.startsWith(kind));
    const all = Object.values(states).reduce((a, b) => a + b);
    assert.deepEqual([parse(row[1]), parse(row[2]), parse(row[4])], [all, states.open ?? 0, states.success ?? 0], kind);
  }
  const rejected = Object.fromEntries((await rows(page, "#rejected")).map(([name, count]) => [name, parse(count)]));
  assert.deepEqual(rejected, stats.events.rejected);
  assert.equal(rejected.invalid, 2);
  const stored = Object.fromEntries((await page.locator("#storage > div").evaluateAll((all) => all.map((one) => [...one.children].map((part) => part.textContent)))));
  assert.equal(parse(stored["Events stored so far"]), stats.events.stored);
  assert.equal(parse(stored["D1 a month, for rows"]), Number(storage.month_dollars.rows.toFixed(2)));
  assert.equal(stored["D1 a month, for storage"], "<$0.01");
  assert.equal(stored["Database size"], `${(storage.bytes / 1000).toFixed(1)} kB`);
  // Providers of the kind that is asked most, with presence and success; then of another.
  const { handlers } = await (await fetch(`${relay.http}/api/handlers?k=5050`)).json();
  await eventually(async () => {
    await look(page);
    const shown = await rows(page, "#providers");
    assert.equal(shown.length, handlers.length);
    for (const [n, handler] of handlers.entries()) {
      assert.match(shown[n][0], new RegExp(`^${handler.metadata.name} · ${handler.pubkey.slice(0, 8)}`));
      assert.equal(shown[n][1], "● online");
      assert.equal(parse(shown[n][2]), Math.round(handler.success_rate * 1000) / 10);
      assert.equal(parse(shown[n][3]), handler.results);
    }
  }, 40_000);
  await page.fill("#kind", "5999");
  await page.press("#kind", "Enter");
  await eventually(async () => assert.match(await text(page, "#providers-said"), /^5999: nobody has announced it/));
  await page.click('#known button:text-is("5100")');
  await eventually(async () => assert.match(await text(page, "#providers-said"), /^5100 image generation: \d announced, \d online/));
  trade.close();
  guest.close();
  page.clean();
  await page.done();
  await relay.stop();
});

const rows = (page, table) => page.locator(`${table} tbody tr`).evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));

test("what strangers call themselves is text, whatever it looks like", async () => {
  const relay = await relayForPages();
  const provider = await agent(relay);
  const name = `<img src=x onerror=alert(1)><b>${"W".repeat(80)}`;
  await provider.publish({ kind: 31990, tags: [["d", "x"], ["k", "5050"]], content: JSON.stringify({ name, display_name: { a: 1 } }) });
  const page = await open(browser, relay, { width: 390 });
  await eventually(async () => assert.ok((await rows(page, "#providers"))[0]?.[0].startsWith("<img src=x onerror=alert(1)>")));
  assert.equal(await page.locator("#providers img, #providers b").count(), 0);
  provider.close();
  page.clean();
  await page.done();
  await relay.stop();
});

/** What is put into D1 past the relay, or left out of it. */
const OF_D1 = { skip: NATIVE && "D1 is prepared for this" };

test("plots draw what the history says, pixel by pixel", OF_D1, async () => {
  const relay = await relayForPages({ seed: past });
  const page = await open(browser, relay);
  const trade = await market(relay); // so that there is something now, too
  trade.run(600, 200);
  await page.waitForSelector(".u-over");
  // The relay keeps a history for 15 s before it looks again.
  await eventually(async () => {
    await look(page);
    assert.match(await text(page, '[data-plot="events"] .readout'), /events stored (?!0 )/);
  }, 40_000);
  // The picture of the README: the first screens of a relay with a past.
  await page.screenshot({ path: `${SHOTS}/hud.png`, clip: { x: 0, y: 0, width: 1280, height: 1420 }, fullPage: true });
  await trade.stop();
  const drawn = (step) => async () => {
    await look(page);
    await matches(page, relay, step);
  };
  for (const step of ["minute", "hour"]) {
    await page.check(`input[value="${step}"]`, { force: true });
    await eventually(drawn(step), 40_000);
  }
  await page.check('input[value="minute"]', { force: true });
  await eventually(drawn("minute"), 40_000);
  // A line can be hidden, and is gone.
  const button = page.locator('[data-plot="events"] .legend button').last();
  assert.notDeepEqual(await line(page, "events", "success", [0.2, 0.8]), [null, null]);
  await button.click();
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  await eventually(async () => assert.deepEqual(await line(page, "events", "success", [0.2, 0.8]), [null, null]));
  await button.click();
  // In words and as a table.
  assert.match(await page.getAttribute('[data-plot="latency"] .canvas', "aria-label"), /^Time to result, from .* median: last .* p99: last /);
  await page.click('[data-plot="events"] summary');
  await eventually(async () => assert.equal((await rows(page, '[data-plot="events"] table')).length, 60));
  await page.click('[data-plot="events"] summary');
  trade.close();
  page.clean();
  await page.done();
  await relay.stop();
});

/** Compares the lines with /api/history, reckoned here once more in another way. */
async function matches(page, relay, step) {
  const { points, step_seconds: seconds } = await (await fetch(`${relay.http}/api/history?step=${step}`)).json();
  const [from, to] = [points[0].at, points.at(-1).at];
  // Pace and median in the minute (or hour) that ends here.
  const paces = points.slice(0, -2).map((point, n) => {
    const next = points[n + 1];
    const end = Math.min(next.at, point.at - (point.at % seconds) + seconds);
    return { at: end, pace: (next.stored - point.stored) / (end - point.at), p50: next.p50_ms, p99: next.p99_ms };
  });
  // The market is slower than the past, so that the minute that runs does not set the scale.
  const highest = 1.1 * Math.max(...paces.map(({ pace }) => pace));
  const slowest = 1.1 * Math.max(...paces.map(({ p99 }) => p99 ?? 0), points.at(-1).p99_ms ?? 0);
  const chosen = [0.1, 0.3, 0.5, 0.7, 0.9].map((share) => Math.floor(share * paces.length)).filter((n) => Math.abs(paces[n].at - paces[n - 1].at) === seconds);
  assert.ok(chosen.length >= 4);
  const shares = chosen.map((n) => (paces[n].at - from) / (to - from));
  // A line of two pixels is some eight minutes wide.
  const near = (n, value) => paces.slice(n - 8, n + 9).map(value);
  const check = (drawn, n, values, top, what) => {
    const [low, high] = [Math.min(...values) / top - 0.03, Math.max(...values) / top + 0.03];
    assert.ok(drawn !== null && drawn >= low && drawn <= high, `${step}, ${what} ${n}: drawn at ${drawn}, between ${low} and ${high}`);
  };
  for (const [at, drawn] of (await line(page, "events", "events", shares)).entries()) {
    check(drawn, chosen[at], near(chosen[at], ({ pace }) => pace), highest, "pace");
  }
  for (const [at, drawn] of (await line(page, "latency", "events", shares)).entries()) {
    check(drawn, chosen[at], near(chosen[at], ({ p50 }) => p50), slowest, "median");
  }
  // The jobs that were answered, on the axis of asinh.
  const most = Math.asinh(1.1 * Math.max(...points.flatMap(({ states }) => Object.values(states))));
  const answered = points.map(({ at, states }) => ({ at, share: Math.asinh(states.success) / most }));
  const some = [0.4, 0.6, 0.9].map((share) => answered[Math.floor(share * answered.length)]);
  const drawn = await line(page, "states", "success", some.map(({ at }) => (at - from) / (to - from)));
  for (const [n, { share }] of some.entries()) assert.ok(Math.abs(drawn[n] - share) < 0.04, `${step}, answered: drawn at ${drawn[n]}, not ${share}`);
  if (step === "hour") return;
  // In the quiet both lines lie at the bottom, the jobs' over the events'.
  const middle = Date.now() / 1000 - 60 * ((QUIET.from + QUIET.to) / 2);
  const [quiet] = await line(page, "events", "success", [(middle - from) / (to - from)]);
  assert.ok(quiet !== null && quiet < 0.03, `drawn at ${quiet} where nothing happened`);
}

test("a relay that cannot be reached is said to be, with the age of the numbers; and it comes back", async () => {
  const relay = await relayForPages();
  const page = await open(browser, relay);
  assert.equal(await text(page, "#state-text"), "Live");
  await relay.stop();
  const age = async () => Number(/these numbers are (\d+) s old/.exec(await text(page, "#state"))?.[1]);
  // It learns so when it reads again.
  await eventually(async () => assert.ok((await age()) >= 4), 40_000);
  assert.match(await text(page, "#state-text"), /^The relay cannot be reached/);
  assert.equal(await page.getAttribute("body", "data-state"), "stale");
  const then = await age();
  await sleep(3500);
  assert.ok((await age()) >= then + 2);
  assert.equal(await tile(page, "connections"), "0"); // what was known stays
  await page.screenshot({ path: `${SHOTS}/stale.png` });
  const again = await relayForPages({ port: relay.port });
  await eventually(async () => assert.equal(await text(page, "#state-text"), "Live"), 60_000);
  await page.done();
  await again.stop();
});

test("a database that does not answer is said to be so", OF_D1, async () => {
  const relay = await relayForPages({ migrate: false });
  const page = await open(browser, relay, { live: false });
  await eventually(async () => assert.equal(await text(page, "#state-text"), "The database does not answer"));
  assert.deepEqual([await tile(page, "open"), await tile(page, "connections")], ["–", "0"]);
  assert.match(await text(page, "#no-history"), /The history cannot be read/);
  await page.done();
  await relay.stop();
});

test("nothing is asked while nobody looks", async () => {
  const relay = await relayForPages();
  const hide = () => {
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    globalThis.hide = (value) => ((hidden = value), document.dispatchEvent(new Event("visibilitychange")));
  };
  const page = await open(browser, relay, { before: hide });
  let asked = 0;
  page.on("request", () => asked++);
  await page.evaluate(() => globalThis.hide(true));
  await sleep(500);
  asked = 0;
  await sleep(10_500);
  assert.equal(asked, 0);
  // Numbers that nobody has asked for are not a relay that cannot be reached.
  assert.equal(await text(page, "#state-text"), "Live");
  await page.evaluate(() => globalThis.hide(false));
  await eventually(() => assert.ok(asked >= 1));
  assert.equal(await text(page, "#state-text"), "Live");
  page.clean();
  await page.done();
  await relay.stop();
});
