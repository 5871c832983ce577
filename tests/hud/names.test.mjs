// docs/OPERATE.md names every number of the page by what stands beside it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { eventually, launch, open, relayForPages } from "./browser.mjs";
import { past } from "./past.mjs";

/** Headings, tiles, blocks, lines, tables with their columns, and the rows of what was refused. */
const LABELS = "h2, h3, dt, .block .state, .plot summary, .columns :is(caption, thead th), :is(#rejected, #limited) tbody th";

const named = new Set([...readFileSync("docs/OPERATE.md", "utf8").matchAll(/\*\*(.+?)\*\*/g)].map(([, name]) => name));
/** Without what is another one each month or day. */
const normal = (label) => label.replace(/\b\d{4}-\d\d\b/, "YYYY-MM").replace(/ since \d+ \w+, \d\d:\d\d/, "");

test("docs/OPERATE.md names what the page shows, with and without data", async () => {
  const browser = await launch();
  for (const seed of [undefined, past]) {
    const relay = await relayForPages({ seed });
    const page = await open(browser, relay);
    if (seed) await page.waitForSelector(".u-over");
    await eventually(async () => assert.ok((await page.locator("#storage dt").count()) > 5));
    const shown = (await page.locator(LABELS).allTextContents()).map(normal);
    assert.ok(shown.length > 60, `${shown.length} labels`);
    assert.deepEqual(shown.filter((label) => !named.has(label)), []);
    page.clean();
    await page.done();
    await relay.stop();
  }
  await browser.close();
});
