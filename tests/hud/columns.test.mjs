// What the HUD makes of numbers before it shows them: the history's columns, the pace, the units.
import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, explainer } from "../../hud/explain.js";
import { bytes, dollars, number, percent, rate, span, time } from "../../hud/format.js";
import { columns, summary } from "../../hud/history.js";
import { pace } from "../../hud/pace.js";

const point = (at, stored, results = 0, more = {}) => ({ at, stored, results, states: { open: stored }, p50_ms: null, p99_ms: null, ...more });

test("what lies between two points happened in the minute of the first", () => {
  const history = { step_seconds: 60, points: [point(600, 0), point(660, 60, 6, { p50_ms: 9, p99_ms: 20 }), point(1200, 90, 3), point(1250, 100)] };
  const made = columns(history);
  // The first; its minute; 30 more in the next one, and then nothing; the one that is running.
  assert.deepEqual(made.at, [600, 660, 720, 780, 1200, 1250]);
  assert.deepEqual(made.rate, [null, 1, 0.5, 0, 0, 0.2]);
  assert.deepEqual(made.answers, [null, 0.1, 0.05, 0, 0, 0]);
  assert.deepEqual(made.p50, [null, 9, null, null, null, null]);
  assert.deepEqual(made.open, [0, 60, 90, 90, 90, 100]);
  assert.deepEqual(made.success, [0, 0, 0, 0, 0, 0]);
});

test("hours begin with the first event in them, and what runs needs some time", () => {
  const hours = columns({ step_seconds: 3600, points: [point(3600 + 1800, 0), point(7200 + 60, 1800), point(7200 + 100, 2000)] });
  assert.deepEqual(hours.at, [5400, 7200]);
  assert.deepEqual(hours.rate, [null, 1]);
  assert.deepEqual(columns({ step_seconds: 60, points: [point(600, 7)] }).at, [600]);
  assert.deepEqual(columns({ step_seconds: 60, points: [] }).at, []);
  assert.equal(summary([null]), null);
  assert.deepEqual(summary([null, 4, 2]), { last: 2, most: 4, mean: 3 });
});

test("the pace is of the last ten seconds, by the relay's clock", () => {
  const of = pace();
  assert.equal(of.add(100, 50), null);
  assert.equal(of.add(120, 52), 10);
  assert.equal(of.add(120, 52), 10, "the same answer again, from a cache");
  for (let at = 54; at <= 70; at += 2) of.add(120, at);
  assert.equal(of.add(120, 72), 0);
  assert.equal(of.add(120, 3), null, "woken again");
  assert.equal(of.add(126, 5), 3);
  assert.equal(of.add(null, 7), null);
});

test("units", () => {
  assert.deepEqual([number(1234567), number(null), rate(0.456), rate(1234.5), rate(0)], ["1,234,567", "–", "0.46", "1,235", "0"]);
  assert.deepEqual([percent(0.98765), percent(null), dollars(0.001), dollars(3), dollars(0)], ["98.8 %", "–", "<$0.01", "$3.00", "$0.00"]);
  assert.deepEqual([time(840), time(2100), time(90_000), time(null)], ["840 ms", "2.1 s", "1.5 min", "–"]);
  assert.deepEqual([span(-2), span(59), span(3600), span(86_400), span(200_000), bytes(999), bytes(1_500_000), bytes(null)], ["0 s", "59 s", "1 h", "1 day", "2 days", "999 B", "1.5 MB", "–"]);
});

test("messages are explained and shortened", () => {
  const explain = explainer();
  const id = "a".repeat(64);
  assert.match(explain("out", ["AUTH", { id, kind: 22242, tags: [] }]), /NIP-42/);
  assert.match(explain("in", ["OK", id, true, ""]), /key is proven/);
  assert.match(explain("in", ["OK", id, false, "blocked: no"]), /refused: blocked: no/);
  assert.match(explain("in", ["EVENT", "s", { kind: 7000, tags: [["status", "partial"]] }]), /partial/);
  assert.equal(explain("in", ["WHAT"]), "");
  assert.equal(brief(["OK", id, true, ""]), '["OK","aaaaaa…",true,""]');
});
