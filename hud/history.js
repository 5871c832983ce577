// Turns /api/history into what is drawn. Pure.
//
// A point is the counts when the first event of its minute (or hour) came, the last one those of now; a
// minute in which nothing came has none. So what lies between two points happened between the first of
// them and the end of its minute; from there to the second nothing did.
import { STATES } from "./market.js";

/** Of the interval that is still running, this part must have passed to say its pace. */
const ENOUGH = 1 / 6;

/** Columns of the plots by name, all as long as `at`: what the interval was like that ends there. */
export function columns({ step_seconds: step, points }) {
  const rows = points.slice(0, 1).map(({ at, states }) => ({ at, states }));
  for (const [n, point] of points.slice(1).entries()) {
    const before = points[n];
    const end = Math.min(point.at, (Math.floor(before.at / step) + 1) * step);
    const length = end - before.at;
    const running = n === points.length - 2 && end === point.at;
    if (length > 0 && (!running || length >= step * ENOUGH)) {
      const [rate, answers] = [point.stored - before.stored, point.results].map((count) => count / length);
      rows.push({ ...point, at: end, rate, answers });
    }
    if (point.at - end < step * ENOUGH) continue;
    // Two points of nothing, so that the line falls and stays.
    for (const at of new Set([Math.min(end + step, point.at), point.at])) {
      rows.push({ at, states: point.states, rate: 0, answers: 0 });
    }
  }
  const column = (value) => rows.map((row) => value(row) ?? null);
  return {
    at: column((row) => row.at),
    rate: column((row) => row.rate),
    answers: column((row) => row.answers),
    p50: column((row) => row.p50_ms),
    p99: column((row) => row.p99_ms),
    ...Object.fromEntries(STATES.map((state) => [state, column((row) => row.states[state] ?? 0)])),
  };
}

/** The last, largest and mean of a column's known values, or null when there are none. */
export function summary(values) {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return null;
  return { last: known.at(-1), most: Math.max(...known), mean: known.reduce((a, b) => a + b) / known.length };
}
