// When the page asks the relay again, and how often it may. Pure. Each request is one of a Worker's, and wakes an object
// that sleeps.

/** Seconds to the first readings, and to all later ones. */
const FIRST = [5, 10, 20];
const EVERY = 36;
/** While nothing changes they become rarer, up to this. */
const RAREST = 8 * EVERY;
/** What is read seldom: the history and the providers. */
const SELDOM = [EVERY, 2 * EVERY, 4 * EVERY, RAREST];

/** Requests of a page in any hour, but those that somebody asks for by a click. */
const MOST = 140;
const HOUR = 3600;

/** Seconds to wait, one after the other. */
export function rounds() {
  let count = 0;
  let wait = EVERY;
  return {
    /** After a reading in which something `changed`, or nothing: how long until the next one at `now` (seconds since 1970). */
    next(changed, now) {
      if (count < FIRST.length) return FIRST[count++];
      wait = changed ? EVERY : Math.min(RAREST, 2 * wait);
      // All pages ask at the same moment, so that one answer serves them and the relay sleeps in between.
      return Math.ceil((now + wait / 2) / wait) * wait - now;
    },
    /** Somebody looks anew. */
    again: () => (count = 0),
  };
}

/** Whether what is read seldom is due. */
export function seldom() {
  let count = 0;
  let last = null;
  return {
    isDue: (now) => last === null || now - last >= SELDOM[Math.min(count, SELDOM.length) - 1],
    age: (now) => (last === null ? Infinity : now - last),
    done: (now) => ((last = now), count++),
  };
}

/** Takes requests as long as there are few in the hour before. */
export function allowance() {
  let taken = [];
  return (now) => {
    taken = taken.filter((at) => at > now - HOUR);
    if (taken.length >= MOST) return false;
    taken.push(now);
    return true;
  };
}
