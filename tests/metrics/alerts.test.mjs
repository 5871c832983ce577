// deploy/alerts.yml: Prometheus takes it, each rule fires when it should and not before, what it looks at is what /metrics has,
// and the paragraph that it names is there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { market } from "../hud/market.mjs";
import { startRelay } from "../support/relay.mjs";

const FILE = resolve("deploy/alerts.yml");
const TEXT = readFileSync(FILE, "utf8");
/** Each rule as the lines below its name have it. */
const RULES = Object.fromEntries(
  TEXT.split(/^ +- alert: /m).slice(1).map((text) => {
    const get = (key) => new RegExp(`^ +${key}: (.*)$`, "m").exec(text)?.[1];
    return [text.split("\n")[0], { expr: get("expr"), runbook: get("runbook"), severity: get("labels"), summary: get("summary"), description: get("description") }];
  }),
);

/** What it says, in the order it says it. */
function promtool(...args) {
  const both = ["-c", 'exec "$@" 2>&1', "sh", process.env.PROMTOOL ?? "promtool"];
  const { status, stdout: said } = spawnSync("sh", [...both, ...args], { encoding: "utf8" });
  return { status, said };
}

/**
 * What makes each rule fire, and what is as near to it and does not: samples a minute, as promtool writes them, of series by
 * their names; `at` is the minute that is looked at. What has no labels is of one relay.
 */
const CASES = {
  NexusDown: { at: 5, fires: { 'up{job="nexus"}': "0x9" }, not: { 'up{job="nexus"}': "0 0 1x7" } },
  NexusDatabaseSilent: {
    at: 5,
    fires: { 'up{job="nexus"}': "1x9", nexus_uptime_seconds: "0+60x9" },
    not: { 'up{job="nexus"}': "1x9", nexus_jobs_requested_total: "0x9" },
  },
  NexusDatabaseFull: {
    at: 10,
    fires: { 'nexus_storage_failures_total{kind="full"}': "0x8 1x5" },
    not: { 'nexus_storage_failures_total{kind="full"}': "7x20", 'nexus_storage_failures_total{kind="other"}': "0+1x20" },
  },
  NexusDatabaseQuota: {
    at: 10,
    fires: { 'nexus_storage_failures_total{kind="quota"}': "0x8 1x5" },
    not: { 'nexus_storage_failures_total{kind="quota"}': "7x20" },
  },
  NexusDatabaseFails: {
    at: 30,
    fires: { 'nexus_storage_failures_total{kind="timed_out"}': "0+1x40" },
    not: { 'nexus_storage_failures_total{kind="timed_out"}': "0x20 1x20", 'nexus_storage_failures_total{kind="full"}': "0+9x40" },
  },
  NexusDatabaseSlow: {
    at: 40,
    fires: { nexus_storage_commits_total: "0+10x60", nexus_storage_commits_seconds_total: "0+1.2x60" },
    not: { nexus_storage_commits_total: "0+10x60", nexus_storage_commits_seconds_total: "0+0.8x60" },
  },
  NexusDatabaseNearlyFull: {
    at: 20,
    fires: { nexus_storage_bytes: "86x30", nexus_storage_max_bytes: "100x30" },
    not: { nexus_storage_bytes: "84x30", nexus_storage_max_bytes: "100x30" },
  },
  NexusRowsOfTodayNearlyTaken: {
    at: 1400,
    fires: { nexus_storage_rows_today: "81x1440", nexus_storage_rows_per_day: "100x1440" },
    not: { nexus_storage_rows_today: "79x1440", nexus_storage_rows_per_day: "100x1440" },
  },
  // Midnight is where promtool begins: from five on a quarter of the day is let out, of that three quarters are 18.75.
  NexusRowsOfTheHourNearlyTaken: {
    at: 310,
    fires: { nexus_storage_rows_today: "19x400", nexus_storage_rows_per_day: "100x400" },
    not: { nexus_storage_rows_today: "18x400", nexus_storage_rows_per_day: "100x400" },
  },
  NexusCostsMore: {
    at: 80,
    fires: { nexus_storage_month_dollars_above_included: "6x90" },
    not: { nexus_storage_month_dollars_above_included: "4x90" },
  },
  NexusNoProviders: {
    at: 15,
    fires: { nexus_connections_providers: "0x20", 'nexus_jobs{state="open"}': "1x20" },
    not: { nexus_connections_providers: "0x20", 'nexus_jobs{state="open"}': "0x20", 'nexus_jobs{state="success"}': "5x20" },
  },
  NexusOpenJobsGrow: {
    at: 110,
    fires: { 'nexus_jobs{state="open"}': "0+3x150" },
    not: { 'nexus_jobs{state="open"}': "300+1x150" },
  },
  NexusJobsUnanswered: {
    at: 90,
    fires: { nexus_jobs_requested_total: "0+2x120", nexus_jobs_with_result_total: "0+0.8x120" },
    not: { nexus_jobs_requested_total: "0+2x120", nexus_jobs_with_result_total: "0+1.2x120" },
  },
  NexusRestarts: {
    at: 59,
    fires: { 'nexus_uptime_seconds{host="native"}': "0 60 0 60 0 60 0+60x60" },
    not: { 'nexus_uptime_seconds{host="native"}': "0 60 0 60 0+60x60", 'nexus_uptime_seconds{host="cloudflare"}': "0 60 0 60 0 60 0 60 0x60" },
  },
  NexusWakesOften: {
    at: 59,
    fires: { 'nexus_uptime_seconds{host="cloudflare"}': "5 0 5 0 5 0 5 0 5 0 5 0x60", nexus_events_stored_total: "0+100x70" },
    not: { 'nexus_uptime_seconds{host="cloudflare"}': "5 0 5 0 5 0 5 0 5 0 5 0x60", nexus_events_stored_total: "0+1x70" },
  },
  NexusAuthRefused: {
    at: 30,
    fires: { nexus_auth_rejected_total: "0+3x40", nexus_auth_accepted_total: "0+2x40" },
    not: { nexus_auth_rejected_total: "0+3x40", nexus_auth_accepted_total: "0+4x40" },
  },
  NexusFewProveKeys: {
    at: 30,
    fires: { nexus_connections_open: "30x40", nexus_connections_authenticated: "14x40" },
    not: { nexus_connections_open: "30x40", nexus_connections_authenticated: "16x40" },
  },
  NexusNobodyHere: {
    at: 60,
    fires: { nexus_connections_open: "20x30 0x40" },
    not: { nexus_connections_open: "9x30 0x40" },
  },
  NexusRateLimited: {
    at: 40,
    fires: { 'nexus_events_rejected_total{prefix="rate-limited"}': "0+20x50", nexus_events_stored_total: "0+10x50" },
    not: { 'nexus_events_rejected_total{prefix="rate-limited"}': "0+20x50", nexus_events_stored_total: "0+30x50" },
  },
  NexusMemoryShareFull: {
    at: 30,
    fires: { 'nexus_memory_used_bytes{share="events"}': "91x40", 'nexus_memory_max_bytes{share="events"}': "100x40" },
    not: { 'nexus_memory_used_bytes{share="events"}': "89x40", 'nexus_memory_max_bytes{share="events"}': "100x40", 'nexus_memory_used_bytes{share="recent"}': "100x40", 'nexus_memory_max_bytes{share="recent"}': "100x40" },
  },
};

/** The cases of a rule as a file of tests; `rules` is the file that is tested. JSON is YAML. */
function tests(alert, rules) {
  const { at, fires, not } = CASES[alert];
  const one = (series, count) => ({
    interval: "1m",
    input_series: Object.entries(series).map(([name, values]) => ({ series: name.includes("{") ? name.replace("{", '{instance="r",') : `${name}{instance="r"}`, values })),
    promql_expr_test: [{ expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`, eval_time: `${at}m`, exp_samples: [{ labels: "{}", value: count }] }],
  });
  return JSON.stringify({ rule_files: [rules], evaluation_interval: "1m", tests: [one(fires, 1), one(not, 0)] });
}

/** What promtool says of each rule by itself whose expression `change` has changed; nothing where all is well. */
function judged(t, change = (expr) => expr) {
  const folder = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const files = TEXT.split(/^(?= +- alert: )/m).slice(1).map((rule) => {
    const alert = /alert: (\w+)/.exec(rule)[1];
    const [rules, file] = ["rules", "tests"].map((name) => join(folder, `${alert}.${name}.yml`));
    const { expr } = RULES[alert];
    writeFileSync(rules, `groups:\n  - name: one\n    rules:\n${rule.replace(expr, change(expr))}`);
    writeFileSync(file, tests(alert, rules));
    return file;
  });
  const { said } = promtool("test", "rules", ...files);
  const parts = said.split("Unit Testing: ").slice(1);
  assert.equal(parts.length, files.length, said);
  return Object.fromEntries(parts.map((part) => [/(\w+)\.tests\.yml/.exec(part)[1], /^ +SUCCESS\s*$/m.test(part) ? "" : part]));
}

test("promtool takes the rules", () => {
  const { status, said } = promtool("check", "rules", "--lint=all", "--lint-fatal", FILE);
  assert.equal(status, 0, said);
  assert.match(said, new RegExp(`SUCCESS: ${Object.keys(RULES).length} rules found`));
});

test("each rule fires when it should, and not a little before", { timeout: 120_000 }, (t) => {
  assert.deepEqual(Object.keys(CASES), Object.keys(RULES));
  const nothing = Object.fromEntries(Object.keys(RULES).map((alert) => [alert, ""]));
  assert.deepEqual(judged(t), nothing);
  // A rule that never fires, or always, is noticed, whichever it is.
  for (const changed of ["vector(0) > 1", "vector(1)"]) {
    for (const [alert, said] of Object.entries(judged(t, () => changed))) assert.match(said, /FAILED/, `${alert} as ${changed}`);
  }
});

test("each rule says what it is about, how bad it is, and where OPERATE.md says what to do", () => {
  const anchors = [...readFileSync("docs/OPERATE.md", "utf8").matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-"));
  for (const [alert, { runbook, severity, summary, description }] of Object.entries(RULES)) {
    assert.ok(summary && description, alert);
    assert.match(severity, /^\{ severity: (critical|warning|info) \}$/, alert);
    const [file, anchor] = runbook.split("#");
    assert.equal(file, "docs/OPERATE.md", alert);
    assert.ok(anchors.includes(anchor), `${alert}: ${anchor} among ${anchors}`);
  }
});

test("what the rules look at is what /metrics has", { timeout: 120_000 }, async () => {
  const relay = await startRelay({ vars: { ROWS_PER_DAY: 100_000, MAX_DATABASE_BYTES: 9_500_000_000 } });
  const trade = await market(relay);
  await trade.job(20);
  const text = await (await fetch(`${relay.http}/metrics`)).text();
  const labelled = (text) => Object.fromEntries([...(text ?? "").matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label, value]));
  const samples = text.split("\n").filter((line) => line.startsWith("nexus_")).map((line) => /^(\w+)(?:\{(.*)\})? /.exec(line)).map(([, name, labels]) => ({ name, labels: labelled(labels) }));
  let looked = 0;
  for (const [alert, { expr }] of Object.entries(RULES)) {
    for (const [, name, selector] of expr.matchAll(/\b(nexus_\w+)(\{[^}]*\})?/g)) {
      const there = samples.filter((sample) => sample.name === name);
      assert.ok(there.length > 0, `${alert}: /metrics has no ${name}`);
      for (const [, label, , values] of (selector ?? "").matchAll(/(\w+)(=|!=|!~)"([^"]*)"/g)) {
        if (label === "host") continue; // the operator's own
        for (const value of values.split("|")) assert.ok(there.some(({ labels }) => labels[label] === value), `${alert}: ${name} has no ${label}="${value}"`);
        looked++;
      }
      looked++;
    }
  }
  assert.ok(looked > 30, `${looked}`);
  trade.close();
  await relay.stop();
});
