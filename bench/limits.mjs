// What the parts that nothing can do without cost by themselves, in the workerd that is measured: a
// verification, an event's share of a group commit, a message sent back.
import { generate } from "./generator.mjs";

/** Events in D1 before it is measured, a multiple of those made at once. */
const FILLED = 20_480;
const CHUNK = 2048;
/** Sizes of groups, from one to the largest the relay makes. */
const SIZES = [1, 16, 64, 128, 256];

/**
 * Microseconds of a verification and of an event's share by the size of its group, the milliseconds in which D1
 * commits a single event, messages echoed a second, and `best`, the limit of ingest in events a second.
 */
export async function limits(host, { quick }) {
  const get = async (path) => {
    const start = performance.now();
    const answer = await fetch(`${host.probe}${path}`);
    await answer.text();
    if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
    return performance.now() - start;
  };
  const count = quick ? 200 : 4000;
  await get("/prepare?first=0&count=96&size=0");
  await get("/verify?count=100");
  const verify = ((await get(`/verify?count=${count}`)) * 1000) / count;
  const share = {};
  let first = 999; // where a job begins: each is three events, and its answers are for a relay that knows it
  // A database is fast while it is small: as many events as the relay will have in the middle of its run.
  for (let filled = 0; filled < (quick ? 0 : FILLED); filled += CHUNK, first += CHUNK) {
    await get(`/prepare?first=${first}&count=${CHUNK}&size=256`);
    await get(`/commit?groups=${CHUNK / 256}`);
  }
  first += (3 - (first % 3)) % 3;
  for (const size of quick ? SIZES.slice(0, 2) : SIZES) {
    // About as much work for each size, and the same database for all.
    const events = Math.max(size, quick ? 32 : Math.min(3072, size * 150));
    const groups = Math.floor(events / size);
    await get(`/prepare?first=${first}&count=${groups * size}&size=${size}`);
    share[size] = ((await get(`/commit?groups=${groups}`)) * 1000) / (groups * size);
    first += 3 * events;
  }
  // One after the other, to see how they spread.
  const single = [];
  await get(`/prepare?first=${first}&count=${quick ? 10 : 500}&size=1`);
  for (let n = 0; n < (quick ? 10 : 500); n += 1) single.push(await get("/commit?groups=1"));
  single.sort((a, b) => a - b);
  const alone = { p50: single[Math.floor(single.length * 0.5)], p99: single[Math.floor(single.length * 0.99)] };
  const [{ "sends/s": echo }] = await generate("echo", "--url", `${host.probe.replace("http", "ws")}/echo`, "--seconds", quick ? "0.5" : "4");
  const best = 1e6 / (verify + Math.min(...Object.values(share)));
  return { verify, share, alone, echo, best };
}
