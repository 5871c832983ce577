// A past for a relay that has just been made: a day of minutes and a month of hours, as it would have
// counted them itself. Written before the relay wakes, so that it takes them for its own.

const DAY = 1440; // minutes
const MONTH = 30 * DAY;
/** Minutes before now in which nothing happened. */
export const QUIET = { from: 520, to: 440 };

/** Jobs of a minute: a wave over the day, and some chance that is the same each time. */
function jobsOf(minute) {
  const wave = 84 + 54 * Math.sin(((minute % DAY) / DAY) * 2 * Math.PI * 3) + 24 * Math.sin(minute / 37);
  return Math.max(0, Math.round(wave + 6 * Math.sin(minute * 12.9898)));
}

/** Fills `history` and `totals` up to now. */
export async function past(db) {
  const now = Math.floor(Date.now() / 60_000);
  let [stored, asked] = [0, 0];
  const buckets = { 8: 0, 9: 0, 10: 0, 11: 0 }; // to 500 ms, 1, 2 and 5 s
  const states = (minute) => {
    const part = (share) => Math.floor(asked * share);
    const gone = { error: part(0.04), expired: part(0.015), cancelled: part(0.01) };
    const slowly = (about, by, minutes) => Math.round(about + by * Math.sin(minute / minutes));
    const under = { open: slowly(30, 22, 60), "payment-required": slowly(2, 2, 45), processing: slowly(12, 7, 50), partial: slowly(3, 3, 70) };
    const done = Object.values(buckets).reduce((a, b) => a + b);
    return { ...under, success: done, ...gone };
  };
  const rows = [];
  for (let minute = now - MONTH; minute < now; minute++) {
    const ago = now - minute;
    if (ago <= QUIET.from && ago > QUIET.to) continue;
    // The counts of before the minute's events.
    const hour = minute % 60 === 0 || ago === QUIET.to;
    if (ago <= DAY || hour) rows.push([minute, Number(hour), stored, JSON.stringify(states(minute)), JSON.stringify(buckets)]);
    const jobs = jobsOf(minute);
    asked += jobs;
    stored += 3 * jobs;
    const parts = [0.2 + 0.12 * Math.sin(minute / 90), 0, 0.12, 0.08 + 0.04 * Math.sin(minute / 130)].map((part) => Math.floor(part * jobs));
    parts[1] = jobs - parts[0] - parts[2] - parts[3];
    for (const [n, part] of parts.entries()) buckets[8 + n] += Math.max(0, part);
  }
  await db
    .prepare(
      "INSERT INTO history SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1)",
    )
    .bind(JSON.stringify(rows))
    .run();
  const counts = { "e 5050": Math.floor(stored / 3), "e 6050": Math.floor(stored / 3), "e 7000": Math.floor(stored / 3) };
  for (const [state, n] of Object.entries(states(now))) counts[`j 5050 ${state}`] = n;
  for (const [bucket, n] of Object.entries(buckets)) [counts[`r ${bucket}`], counts[`f ${bucket - 4}`]] = [n, n];
  await db
    .prepare("UPDATE totals SET stored = ?1, since_ms = ?2, counts = ?3")
    .bind(stored, (now - MONTH) * 60_000, JSON.stringify(counts))
    .run();
}
