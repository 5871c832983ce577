// `npm run bench`: measures the release build of the Worker and prints one table; `-- --native` that of the
// native program. A whole run is written to bench/RESULTS.md. `-- --url ws://…` measures any relay, `-- --beside ws://…`
// the native program and another relay by turns, `-- --cluster` gateways and partitions, for docs/SCALE.md.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "../scripts/build.mjs";
import { buildNative } from "../scripts/native.mjs";
import { ROOT, fail, say } from "../scripts/run.mjs";
import { setup } from "../scripts/setup.mjs";
import { buildGenerator, buildProbe } from "./build.mjs";
import { cluster } from "./cluster.mjs";

const NAMES = ["ingest", "latency", "fanout", "queries", "stored", "engine", "memory", "size"];
const AT_ANY_RELAY = NAMES.slice(0, 4);
const STORED = [100_000, 1_000_000];
const HELP = `npm run bench -- [options]
  --only NAMES   some sections, separated by commas: ${NAMES.join(", ")}
  --store object measure the Worker with its objects' own databases (ingest, latency, fanout, queries)
  --native       measure the native program in place of the Worker
  --url URL      measure the relay at ws://… (${AT_ANY_RELAY.join(", ")}); it must take jobs of keys it does not know
  --relay NAME   the URL it calls itself by in AUTH, if that is another
  --beside URL   measure the native program and the relay at ws://… by turns (ingest, latency, queries)
  --pid N        the process of that relay: its CPU is told
  --cluster      measure many gateways and partitions in one process; written to docs/SCALE.md
  --program PATH a native program in place of what is built here; may be given more than once
  --rounds N     how many turns (3)
  --quick        a moment of each: whether all works, not how fast`;

/** Measures with what was built; the rows of the table. */
export async function measure({ only = NAMES, native = false, url = null, relay = null, store = "d1", quick = false }) {
  // What npm installs is not there before set-up.
  const [sections, { start }, { limits: measureLimits }] = await Promise.all(
    ["./sections.mjs", "./host.mjs", "./limits.mjs"].map((file) => import(file)),
  );
  const wanted = (name) => only.includes(name);
  const rows = [];
  const section = async (name, work) => {
    if (!wanted(name)) return;
    say(`measuring: ${name}`);
    const measured = await work();
    for (const { what, figure } of measured) console.log(`  ${what}: ${figure}`);
    rows.push(...measured);
  };
  if (url !== null) {
    const target = ["--url", url, ...(relay ? ["--relay", relay] : [])];
    for (const name of AT_ANY_RELAY) await section(name, () => sections[name](target, { quick }));
    return rows;
  }
  if (native) {
    const host = await sections.NATIVE.start();
    const target = sections.hostTarget(host);
    await section("ingest", () => sections.ingest(target, { quick, cpu: host.cpu }));
    for (const name of AT_ANY_RELAY.slice(1)) await section(name, () => sections[name](target, { quick }));
    await host.stop();
    await section("stored", () => sections.storedQueries(quick ? [] : STORED, sections.NATIVE));
    await section("memory", () => (quick ? [] : sections.memory(sections.NATIVE)));
    await section("size", () => sections.nativeSize());
    return rows;
  }
  const host = await start({ probe: true, store });
  const target = sections.hostTarget(host);
  say("measuring: the limits");
  const limits = await measureLimits(host, { quick });
  rows.push(...limitRows(limits));
  await section("ingest", () => sections.ingest(target, { quick, limits, stats: host.stats }));
  await section("latency", () => sections.latency(target, { quick, limits }));
  await section("fanout", () => sections.fanout(target, { quick, limits }));
  await section("queries", async () => {
    // For so long after it woke a relay does not answer from memory.
    if (!quick) await host.awakeFor(125);
    return sections.queries(target, { quick });
  });
  await host.stop();
  if (store !== "d1") return rows;
  await section("stored", () => sections.storedQueries(quick ? [] : STORED));
  await section("engine", () => sections.engine({ quick }));
  await section("memory", () => (quick ? [] : sections.memory()));
  await section("size", () => sections.size());
  return rows;
}

function limitRows({ verify, share, alone, echo, best }) {
  const shares = Object.entries(share).map(([size, micros]) => `${Math.round(micros)} in one of ${size}`);
  return [
    { what: "limit: a verification in workerd", figure: `${verify.toFixed(1)} µs`, limit: "" },
    { what: "limit: an event's share of a group in D1", figure: `µs: ${shares.join(", ")}`, limit: `with a verification: ${Math.round(best)} events/s at best` },
    { what: "limit: D1 commits a single event", figure: `p50 ${alone.p50.toFixed(1)} ms, p99 ${alone.p99.toFixed(1)} ms`, limit: "over HTTP, one after the other" },
    { what: "limit: echo", figure: `${Math.round(echo).toLocaleString("en")} sends/s`, limit: "64 connections, 1,000 bytes" },
  ];
}

export const table = (rows) => grid([["what", "figure", "limit or bar"], ...rows.map(({ what, figure, limit }) => [what, figure, limit])]);

/** Rows of cells as a table; the first is its head. */
export function grid(rows) {
  const widths = rows[0].map((_, n) => Math.max(...rows.map((row) => row[n].length)));
  const line = (row) => `| ${row.map((cell, n) => cell.padEnd(widths[n])).join(" | ")} |`;
  const [head, ...rest] = rows.map(line);
  return [head, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...rest].join("\n");
}

function machine() {
  const { model } = cpus()[0];
  return `${cpus().length} cores (${model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GB; Node ${process.version}; the generator on the same machine`;
}

/** Puts tables into their place in a file. */
function keep(text, place, name = "bench/RESULTS.md") {
  const file = join(ROOT, name);
  const [begin, end] = [`<!-- ${place} -->`, `<!-- /${place} -->`];
  const results = readFileSync(file, "utf8");
  const [before, rest] = results.split(begin);
  const after = rest.split(end)[1];
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(file, `${before}${begin}\n${date}, ${machine()}\n\n${text}\n${end}${after}`);
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const flags = { only: { type: "string" }, native: { type: "boolean" }, url: { type: "string" }, relay: { type: "string" }, beside: { type: "string" }, pid: { type: "string" }, program: { type: "string", multiple: true }, store: { type: "string" }, rounds: { type: "string" }, cluster: { type: "boolean" }, quick: { type: "boolean" }, help: { type: "boolean" } };
  let values;
  try {
    ({ values } = parseArgs({ options: flags }));
  } catch (error) {
    fail(`${error.message}\n${HELP}`);
  }
  if (values.help) {
    console.log(HELP);
    process.exit();
  }
  const only = values.only?.split(",");
  const unknown = only?.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) fail(`no section ${unknown}\n${HELP}`);
  if (values.store && !["d1", "object"].includes(values.store)) fail(`no store ${values.store}\n${HELP}`);
  await setup();
  await buildGenerator();
  if (values.beside) {
    if (!values.program) await buildNative();
    const { beside } = await import("./beside.mjs");
    const { beside: url, relay, pid, program: programs, rounds = "3", quick } = values;
    console.log(`\n${grid(await beside({ url, relay, pid, programs, rounds: Number(rounds), only, quick }))}\n`);
    process.exit();
  }
  if (values.cluster) {
    const tables = (await cluster({ ...values, say })).map(grid).join("\n\n");
    console.log(`\n${tables}\n`);
    if (!values.quick) keep(tables, "measured", "docs/SCALE.md");
    process.exit();
  }
  if (values.native) await buildNative();
  else if (!values.url) {
    await build();
    await buildProbe();
  }
  const text = table(await measure({ ...values, only }));
  console.log(`\n${text}\n`);
  if (!only && !values.url && !values.store && !values.quick) keep(text, values.native ? "native" : "measured");
}
