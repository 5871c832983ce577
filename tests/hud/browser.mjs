// Debian's Chromium by Playwright, with what every page of these tests is watched for: console errors
// and requests to another host.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { NATIVE, startRelay } from "../support/relay.mjs";

const AXE = readFileSync("node_modules/axe-core/axe.min.js", "utf8");
export const SHOTS = join("test-output/hud", NATIVE ? "native" : "worker");
mkdirSync(SHOTS, { recursive: true });

export const launch = () =>
  chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A relay that the page can authenticate with: it knows its own address. Numbers are shared as they are when nothing is set. */
export async function relayForPages({ vars = {}, seed, ...rest } = {}) {
  const port = rest.port ?? (await freePort());
  const own = { RELAY_URL: `wss://nexus.example ws://127.0.0.1:${port}`, STATS_SHARED_SECONDS: "", RELAY_PUBKEY: "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" };
  const relay = await startRelay({ port, ...rest, vars: { ...own, ...vars } });
  await seed?.(relay.db); // before anything is asked, so that the relay finds it when it wakes
  return Object.assign(relay, { port });
}

/** A watched page of the relay, the HUD or another one; `errors` and `strangers` fill up when something is wrong. */
export async function open(browser, relay, { path = "", width = 1280, height = 900, scheme = "dark", before, live = true } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  const [errors, strangers] = [[], []];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && !/willReadFrequently/.test(message.text()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(error.message));
  const own = (url) => url.startsWith("data:") || new URL(url).host === `127.0.0.1:${relay.port}`;
  page.on("request", (request) => own(request.url()) || strangers.push(request.url()));
  page.on("websocket", (socket) => own(socket.url()) || strangers.push(socket.url()));
  if (before) await page.addInitScript(before);
  await page.goto(`${relay.http}${path}`);
  if (live) await page.waitForSelector('body[data-state="live"]');
  return Object.assign(page, {
    clean: () => assert.deepEqual({ errors, strangers }, { errors: [], strangers: [] }),
    done: () => context.close(),
  });
}

export const text = (page, selector) => page.locator(selector).textContent();
export const tile = (page, name) => text(page, `[data-tile="${name}"] .value`);
/** A number as it is written on the page. */
export const parse = (written) => (written === "–" ? null : Number(written.replace(/[,$%]/g, "").trim()));

/** Waits until `check` no longer throws. */
export async function eventually(check, ms = 12_000) {
  for (const end = Date.now() + ms; ; await new Promise((resolve) => setTimeout(resolve, 150))) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

/** What axe-core finds that is serious or worse. */
export async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => (await globalThis.axe.run()).violations);
  const bad = found.filter(({ impact }) => impact === "serious" || impact === "critical");
  return bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}

/** How far the page is wider than the window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/**
 * Where a plot's line is: for each share of the plot's width the share of its height (0 at the bottom)
 * of the topmost pixel in the colour, or null when there is none.
 */
export function line(page, plot, colour, shares) {
  return page.evaluate(
    ([name, colourName, at]) => {
      const figure = document.querySelector(`[data-plot="${name}"]`);
      const [canvas, over] = [figure.querySelector("canvas"), figure.querySelector(".u-over")];
      const [whole, inner] = [canvas.getBoundingClientRect(), over.getBoundingClientRect()];
      const ratio = canvas.width / whole.width;
      const probe = figure.appendChild(document.createElement("i"));
      probe.style.color = `var(--${colourName})`;
      const wanted = getComputedStyle(probe).color.match(/\d+/g).map(Number);
      probe.remove();
      const [top, height] = [(inner.top - whole.top) * ratio, inner.height * ratio];
      return at.map((share) => {
        const x = Math.round((inner.left - whole.left + share * inner.width) * ratio);
        const { data } = canvas.getContext("2d").getImageData(x, Math.floor(top) - 2, 1, Math.ceil(height) + 4);
        for (let y = 0; y < data.length / 4; y++) {
          const away = Math.hypot(...[0, 1, 2].map((part) => data[4 * y + part] - wanted[part]));
          if (data[4 * y + 3] > 200 && away < 60) return 1 - (y - 2) / height;
        }
        return null;
      });
    },
    [plot, colour, shares],
  );
}
