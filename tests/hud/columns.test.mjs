// What the HUD makes of numbers before it shows them: the history's columns, what is played when, when it reads, the units.
import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, explainer } from "../../hud/explain.js";
import { bytes, dollars, number, percent, rate, span, time } from "../../hud/format.js";
import { columns, summary } from "../../hud/history.js";
import { playback } from "../../hud/playback.js";
import { allowance, rounds, seldom } from "../../hud/rounds.js";
import { timeline } from "../../hud/timeline.js";

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

/** A row of `moments`: a second, events, open jobs, answered jobs. */
const told = (at, stored, open = 0, success = 0) => [at, stored, open, 0, 0, 0, 0, 0, success, 0];

test("the pace is of the last ten seconds, by what was counted in each", () => {
  const counted = timeline();
  assert.deepEqual([counted.end(), counted.at(5), counted.rate(5)], [null, null, null]);
  counted.add([told(50, 100)]);
  assert.deepEqual([counted.rate(50), counted.at(50).stored], [null, 100]);
  // What happens meanwhile comes with the next reading, second by second; what was read twice is the same.
  counted.add([told(49, 100), told(52, 120), told(60, 120, 3, 2)]);
  assert.deepEqual([51, 51.9, 52, 60, 99].map((at) => counted.at(at).stored), [100, 100, 120, 120, 120]);
  assert.deepEqual([counted.rate(52), counted.rate(60), counted.rate(70)], [20 / 3, 2, 0]);
  assert.deepEqual([counted.at(59.9).states.success, counted.at(60).states.success, counted.at(60).states.open], [0, 2, 3]);
  counted.add([told(49, 100), told(52, 120)]);
  assert.equal(counted.end(), 60, "an older reading, from a cache");
  // What nobody has told, as of an object that slept, came evenly.
  counted.add([told(100, 160, 7, 2), told(110, 161, 7, 2)]);
  assert.deepEqual([60, 70, 80, 99, 100, 105].map((at) => counted.at(at).stored), [120, 130, 140, 159, 160, 160]);
  assert.equal(counted.rate(90), 1);
  // A database that was set back begins anew.
  counted.add([told(120, 3)]);
  assert.deepEqual([counted.at(120).stored, counted.rate(120)], [3, null]);
  for (let at = 121; at < 1000; at++) counted.add([told(at, at)]);
  assert.equal(counted.at(0).stored, 818, "three minutes are kept");
});

test("what was read is played until the next reading", () => {
  const played = playback();
  assert.deepEqual([played.at(7), played.late(7)], [null, null]);
  played.reach(1000, 7, 5);
  assert.deepEqual([played.at(7), played.at(12), played.late(12)], [1000, 1000, 5]);
  // Five seconds of the relay's in the ten until the next reading.
  played.reach(1005, 12, 10);
  assert.deepEqual([12, 17, 22, 30].map(played.at), [1000, 1002.5, 1005, 1005]);
  assert.deepEqual([12, 17, 22, 30].map(played.late), [5, 7.5, 10, 18]);
  // Then as fast as it was, ten seconds late.
  played.reach(1015, 22, 10);
  assert.deepEqual([22, 27, 32].map(played.at), [1005, 1010, 1015]);
  assert.equal(played.late(27), 10);
  // Who comes back sees now; what is long past is not played.
  played.skip();
  played.reach(1100, 107, 36);
  assert.equal(played.at(107), 1100);
  played.reach(1300, 307, 36);
  assert.equal(played.at(307), 1300);
  // The clock of the relay was set back.
  played.reach(900, 343, 36);
  assert.equal(played.at(343), 900);
});

test("readings become rarer, and come at the same moments on all pages", () => {
  const busy = rounds();
  assert.deepEqual([1, 2, 3].map(() => busy.next(true, 0)), [5, 10, 20]);
  const page = (begins, changed) => {
    const round = rounds();
    const reads = [];
    for (let now = begins; now < begins + 7200; now += round.next(changed, now)) reads.push(now);
    return reads;
  };
  const [one, other] = [page(1_800_000_000, true), page(1_800_000_019.5, true)];
  const hour = (reads) => reads.filter((at) => at < reads[0] + 3600).length;
  assert.deepEqual([hour(one), hour(other)], [102, 102]);
  assert.ok(one.slice(5).every((at) => at % 36 === 0));
  assert.deepEqual(one.slice(5, 90), other.filter((at) => one.includes(at)).slice(0, 85));
  assert.equal(hour(page(1_800_000_000, false)), 18);
  const idle = page(1_800_000_000, false);
  assert.equal(idle.at(-1) - idle.at(-2), 288);
});

test("what is read seldom is, and no hour has more than so many requests", () => {
  const history = seldom();
  let reads = 0;
  for (let now = 0; now < 3600; now += 36) {
    if (!history.isDue(now)) continue;
    history.done(now);
    reads++;
  }
  assert.equal(reads, 15);
  const mayAsk = allowance();
  let taken = 0;
  for (let now = 0; now < 3600; now += 1) taken += Number(mayAsk(now));
  assert.equal(taken, 140);
  assert.equal(mayAsk(3600), true);
  assert.equal(mayAsk(3600.5), false);
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
