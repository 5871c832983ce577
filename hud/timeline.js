// What the relay has counted, second by second: `moments` of /api/stats, one reading after the other. Pure. Times are
// seconds of the relay's own clock.
import { STATE_ORDER } from "./market.js";

/** Over how much time events a second are told: short enough to be now, long enough to be steady. */
const WINDOW = 10; // s
/** How much is kept, from the newest back. */
const KEPT = 180; // s

export function timeline() {
  let points = []; // in the order of time: each holds until the next one, unless that has a `gap` before it

  /** What was counted at a time. Where nobody has told, it grew evenly. */
  function at(time) {
    const next = points.findIndex((point) => point.at > time);
    const before = points.at(next === 0 ? 0 : next < 0 ? -1 : next - 1);
    const after = points[next];
    if (!before || !after?.gap || next === 0) return before ?? null;
    const share = (time - before.at) / (after.at - before.at);
    const between = (one, other) => Math.round(one + share * (other - one));
    return {
      at: time,
      stored: between(before.stored, after.stored),
      states: Object.fromEntries(STATE_ORDER.map((state) => [state, between(before.states[state], after.states[state])])),
    };
  }

  return {
    at,
    /** Takes the moments of a reading, the last of which is when it was made. */
    add(moments) {
      const rows = moments.map(([time, stored, ...jobs]) => ({ at: time, stored, states: Object.fromEntries(STATE_ORDER.map((state, n) => [state, jobs[n]])) }));
      const [first, end] = [rows[0], points.at(-1)];
      if (!first || (end && rows.at(-1).at < end.at)) return; // an older one, from a cache
      // Of a relay that was set back nothing is known.
      if (end && first.stored < at(Math.min(first.at, end.at)).stored) points = [];
      else if (end && first.at > end.at) first.gap = true;
      const newest = rows.at(-1).at;
      points = [...points.filter((point) => point.at < first.at), ...rows];
      const old = points.findLastIndex((point) => point.at < newest - KEPT);
      points.splice(0, Math.max(0, old));
    },
    /** Until when it is known, null while nothing is. */
    end: () => points.at(-1)?.at ?? null,
    /** Events a second in the time before, null while that is not known. */
    rate(time) {
      if (points.length === 0) return null;
      const from = Math.max(time - WINDOW, points[0].at);
      return time > from ? (at(time).stored - at(from).stored) / (time - from) : null;
    },
  };
}
