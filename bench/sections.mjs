// What is measured at the relay, section by section. Each gives rows: what, the figures in words, and the
// limit or the bar beside them.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ROOT, fingerprint, say } from "../scripts/run.mjs";
import { GENERATOR, MADE } from "./build.mjs";
import { generate, idle } from "./generator.mjs";
import { RELAY_URL, start } from "./host.mjs";
import * as native from "./native.mjs";

export const number = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString());
const ms = (value) => `${number(value)} ms`;
const percent = (share) => `${Math.round(share * 100)} %`;

/** The Worker, and what makes its store. */
const WORKER = {
  name: "d1",
  start,
  tables: async (folder) => {
    await (await start({ folder })).stop();
    const d1 = join(folder, "d1/miniflare-D1DatabaseObject");
    return join(d1, readdirSync(d1).find((name) => name.endsWith(".sqlite") && name !== "metadata.sqlite"));
  },
};
export const NATIVE = { name: "sqlite", start: native.start, tables: native.tables };

/** (a), and (f) where the relay says what it pays, or what CPU it takes. */
export async function ingest(target, { quick, limits = null, stats = null, cpu = null }) {
  const rows = [];
  const verify = cpu && (await timed("verify", quick))["µs"];
  for (const connections of quick ? [2] : [1, 8, 64]) {
    const before = await stats?.();
    const used = cpu?.();
    const [figures] = await generate("ingest", ...target, "--connections", String(connections), "--seconds", quick ? "0.5" : "8");
    const after = await stats?.();
    const rate = figures["accepted/s"];
    const paid = stats && {
      written: (after.storage.rows.written - before.storage.rows.written) / figures.events,
      read: (after.storage.rows.read - before.storage.rows.read) / figures.events,
    };
    rows.push({
      what: `ingest, ${figures.name}`,
      figure: `${number(rate)} accepted/s; OK p50 ${ms(figures["OK p50 ms"])}, p99 ${ms(figures["OK p99 ms"])}`,
      limit: limits ? `${percent(rate / limits.best)} of ${number(limits.best)}/s: verification and D1 alone` : "",
    });
    if (cpu) {
      const micros = ((cpu() - used) * 1e6) / figures.events;
      rows.push({ what: `CPU, ${figures.name}`, figure: `${number(micros)} µs an event, all threads`, limit: `of which verification ${number(verify)} µs, measured alone` });
    }
    if (paid) {
      // Three events a job, at list price.
      const dollars = 3 * (paid.written + paid.read / 1000);
      rows.push({
        what: `rows, ${figures.name}`,
        figure: `${number(paid.written)} written, ${number(paid.read)} read an event`,
        limit: `$${number(dollars)} for a million jobs of three events`,
      });
    }
  }
  return rows;
}

/** (b) */
export async function latency(target, { quick, limits = null }) {
  const more = quick ? ["--rates", "50", "--idle", "5", "--seconds", "1"] : [];
  const cases = await generate("latency", ...target, ...more);
  return cases.map((figures) => ({
    what: `publish to subscriber, ${figures.name}`,
    figure: `p50 ${ms(figures["p50 ms"])}, p99 ${ms(figures["p99 ms"])}`,
    limit: limits ? `D1 alone: p50 ${ms(limits.alone.p50)}, p99 ${ms(limits.alone.p99)}` : "",
  }));
}

/** (c) */
export async function fanout(target, { quick, limits = null }) {
  const cases = await generate("fanout", ...target, ...(quick ? ["--subscribers", "20", "--deliveries", "40"] : []));
  return cases.map((figures) => ({
    what: `fan-out to ${figures.name}`,
    figure: `${number(figures["deliveries/s"])} deliveries/s; the last after ${ms(figures["last, p50 ms"])}`,
    limit: limits ? `${percent(figures["deliveries/s"] / limits.echo)} of ${number(limits.echo)}/s: echo alone` : "",
  }));
}

/** (d) at whatever is there. */
export async function queries(target, { quick, stored = null }) {
  const more = [...(stored ? ["--stored", String(stored)] : []), ...(quick ? ["--seconds", "0.2"] : [])];
  const cases = await generate("queries", ...target, ...more);
  return cases.map((figures) => ({
    what: `REQ to EOSE, ${figures.name}`,
    figure: `${number(figures["queries/s"])} queries/s; p50 ${ms(figures["p50 ms"])}, p99 ${ms(figures["p99 ms"])}; ${number(figures["events each"])} events each`,
    limit: "",
    p50: figures["p50 ms"],
  }));
}

/** (d) at stores of two sizes. */
export async function storedQueries(sizes, host = WORKER) {
  const tables = [];
  for (const events of sizes) {
    const folder = await filled(events, host);
    // What was stored some time ago must still be there.
    const keep = Object.fromEntries(["REQUESTS", "FEEDBACK", "RESULTS"].map((what) => [`RETAIN_${what}`, "0"]));
    const running = await host.start({ folder, vars: keep });
    tables.push(await queries(hostTarget(running), { stored: events }));
    await running.stop();
  }
  const [small, large] = tables;
  large?.forEach((row, n) => (row.limit = `${number(row.p50 / small[n].p50)} times that of ${number(sizes[0])} events; bar: 3`));
  return tables.flat();
}

/** A folder with a store of so many events; kept, as it takes long to fill. */
async function filled(events, host) {
  const print = fingerprint(["migrations", "src/store", "src/market", "bench/src/fill.rs"]).slice(0, 16);
  const folder = join(MADE, "stored", `${host.name}-${events}-${print}`);
  if (existsSync(folder)) return folder;
  for (const old of existsSync(join(folder, "..")) ? readdirSync(join(folder, "..")) : []) {
    if (old.startsWith(`${host.name}-${events}-`)) rmSync(join(folder, "..", old), { recursive: true });
  }
  const fresh = `${folder}.part`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const file = await host.tables(fresh);
  say(`filling a store with ${events} events`);
  execFileSync(GENERATOR, ["fill", "--file", file, "--events", String(events)], { stdio: "inherit" });
  renameSync(fresh, folder);
  return folder;
}

/** Work of the engine alone, timed. */
async function timed(work, quick, ...more) {
  const [figures] = await generate("engine", "--work", work, ...more, "--events", quick ? "50" : "3000");
  return figures;
}

/** (e) Instructions of the engine, counted by valgrind, where it is. */
export async function engine({ quick }) {
  const rows = [];
  for (const filters of quick ? [1, 100] : [1, 100, 1000, 100_000]) {
    const figures = await timed("match", quick, "--filters", String(filters));
    rows.push({ what: `live, ${figures.name}`, figure: `${number(figures["µs"])} µs, verified`, limit: "" });
  }
  const accepted = await timed("accept", quick);
  rows.push({ what: `the engine alone, ${accepted.name}`, figure: `${number(accepted["µs"])} µs, verified`, limit: "" });
  if (spawnSync("valgrind", ["--version"]).status !== 0) {
    return [...rows, { what: "instructions of the engine", figure: "not counted: valgrind is missing", limit: "" }];
  }
  const count = (...args) => {
    const run = (events) => {
      const done = spawnSync("valgrind", ["--tool=callgrind", "--callgrind-out-file=/dev/null", GENERATOR, "engine", ...args, "--events", String(events)], { encoding: "utf8" });
      if (done.status !== 0) throw new Error(done.stderr);
      return Number(/Collected : (\d+)/.exec(done.stderr)[1]);
    };
    return (run(240) - run(60)) / 180;
  };
  const ready = count("--work", "nothing");
  const verify = count("--work", "verify") - ready;
  const accept = count("--work", "accept") - ready;
  rows.push({
    what: "instructions of an accepted event, native",
    figure: `${number(accept)}, of which verification ${number(verify)}`,
    limit: `${percent(verify / accept)}; bar: 80 %`,
  });
  const [few, many] = (quick ? [1, 100] : [100, 100_000]).map((filters) => count("--work", "match", "--filters", String(filters)));
  const [none] = [count("--work", "match", "--filters", "0")];
  rows.push({
    what: "instructions more for 100,000 standing filters than for 100",
    figure: `${number(many - few)}, on ${number(few - none)} more for 100 than for none`,
    limit: `an event takes ${number(many / few)} times those beside 100; bar: 2`,
  });
  return rows;
}

/** (g) */
export async function memory({ start: begin } = WORKER) {
  const host = await begin();
  const target = hostTarget(host);
  const warm = await idle(50, target);
  const before = host.memory();
  const subscribers = 5000;
  const held = await idle(subscribers, target);
  const each = (host.memory() - before) / subscribers;
  await held.stop();
  await warm.stop();
  await host.stop();
  return [{ what: "memory of 1,000 idle subscribers", figure: `${number(each / 1000)} MB`, limit: begin === start ? "resident in workerd, with its sockets; an object's 128 MB hold heap and WASM" : "resident, with its sockets" }];
}

/** (h) */
export async function size() {
  const files = ["build/index.js", "build/index_bg.wasm"].map((file) => readFileSync(join(ROOT, file)));
  const zipped = files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0);
  const host = await start();
  const asked = async () => {
    const from = performance.now();
    await (await fetch(host.http, { headers: { Accept: "application/nostr+json" } })).text();
    return performance.now() - from;
  };
  const [first, second] = [await asked(), await asked()];
  await host.stop();
  return [
    { what: "Worker", figure: `${number(zipped / 1000)} kB gzipped, ${number(files[1].length / 1000)} kB of wasm`, limit: "budget 850 kB" },
    { what: "start-up", figure: `first answer ${ms(first)}, second ${ms(second)}`, limit: "Cloudflare allows 1 s" },
  ];
}

/** (h) of the native program. */
export async function nativeSize() {
  const host = await native.start();
  await host.stop();
  return [
    { what: "program", figure: `${number(native.size())} MB`, limit: "one file, with SQLite and the HUD" },
    { what: "start-up", figure: `listening after ${ms(host.started)}`, limit: "bar: 200 ms" },
  ];
}

/** How the generator is told where a host is. */
export function hostTarget(host) {
  return ["--url", host.url, "--relay", RELAY_URL];
}
