// How numbers and times are written. Knows nothing of the page. What is not known is a dash.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact" });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

const known = (write) => (value) => (value === null || value === undefined ? "–" : write(value));

export const number = known((value) => whole.format(value));
/** Exact below ten, where a tenth matters. */
export const rate = known((value) => (value < 10 && value !== 0 ? fine : whole).format(value));
export const percent = known((share) => (share > 0 && share < 0.0005 ? "<0.1 %" : `${tenth.format(share * 100)} %`));
/** For the ticks of an axis: `30K`, `1M`. */
export const short = known((value) => compact.format(value));
export const dollars = known((value) => (value > 0 && value < 0.01 ? "<$0.01" : `$${cents.format(value)}`));
export const time = known((ms) => {
  if (ms < 1000) return `${whole.format(ms)} ms`;
  if (ms < 60_000) return `${fine.format(ms / 1000)} s`;
  return ms < 3_600_000 ? `${fine.format(ms / 60_000)} min` : `${fine.format(ms / 3_600_000)} h`;
});

/** Seconds as the largest unit that fits. */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`; // clocks are set back, too
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? "1 day" : `${days} days`;
}

/** Bytes in the unit that keeps them short. */
export const bytes = known((value) => {
  const at = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${at === 0 ? whole.format(value) : tenth.format(value / 1000 ** at)} ${["B", "kB", "MB", "GB", "TB"][at]}`;
});

/** The time of a Unix second in this browser's zone: the day at midnight and beyond a day. */
export const clockTime = (at) => clock.format(at * 1000);
export const dayOf = (at) => day.format(at * 1000);
export const moment = (at) => `${dayOf(at)}, ${clockTime(at)}`;
/** To the second, of Unix milliseconds. */
export const exactMoment = (ms) => exact.format(ms);
