// Which moment is shown: what was read is played while the next reading is waited for, so that numbers move as they
// did, a little later. Pure. Times are seconds: `end` of the relay's clock, `now` of the page's.

/** More than so much is not played: the page was not looked at, or nothing was read. */
const LATEST = 75; // s: as much as the relay remembers second by second

export function playback() {
  let played = null; // from which moment to which, since when and for how long
  let read = null; // the end of what is known, and when it was

  const at = (now) => (played === null ? null : played.from + Math.min(1, (now - played.since) / played.span) * (played.to - played.from));

  return {
    /** What is known reaches to `end`; the next reading comes in `next` seconds. */
    reach(end, now, next) {
      const shown = at(now);
      read = { end, now };
      const from = shown === null || shown > end || end - shown > LATEST ? end : shown;
      played = { from, to: end, since: now, span: Math.max(1, Math.min(next, LATEST)) };
    },
    /** From here on the newest is shown, as to who comes back. */
    skip() {
      played = null;
    },
    at,
    /** For how long what is shown is past. */
    late: (now) => (played === null ? null : Math.max(0, read.end + now - read.now - at(now))),
  };
}
