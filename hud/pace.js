// Events a second from the last readings of the relay's count. Pure. The clock is the relay's own: a
// reading may have lain in a cache.

/** How far back readings are compared: short enough to be now, long enough to be steady. */
const WINDOW = 10; // s

export function pace() {
  let readings = [];
  let last = null;
  return {
    /** Takes a reading; the events a second since the oldest of the window, null while not known. */
    add(count, at) {
      const before = readings.at(-1);
      // Not known, woken again, or the page has not looked for a while: from the start.
      if (count === null || (before && (at < before.at || count < before.count || at - before.at > WINDOW))) {
        readings = [];
        last = null;
      }
      if (count === null || at === readings.at(-1)?.at) return last;
      readings.push({ count, at });
      while (readings.length > 2 && at - readings[1].at >= WINDOW) readings.shift();
      const [first] = readings;
      if (at > first.at) last = (count - first.count) / (at - first.at);
      return last;
    },
  };
}
