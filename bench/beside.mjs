// `npm run bench -- --beside ws://… --pid N`: the native program and another relay, measured by turns on the same machine.
import { generate } from "./generator.mjs";
import { cpuOf, start } from "./native.mjs";
import { PROGRAM } from "./build.mjs";
import { hostTarget, number } from "./sections.mjs";

/** What is measured, and how. */
const SECTIONS = {
  ingest: (quick) => ["--connections", quick ? "2" : "8", "--in-flight", "16", "--seconds", quick ? "0.5" : "8"],
  latency: (quick) => ["--rates", "200", "--idle", quick ? "5" : "1000", "--seconds", quick ? "1" : "8"],
  queries: (quick) => ["--connections", "8", "--seconds", quick ? "0.2" : "2"],
};
/** Figures that are told of a case, and what they are of. */
const TOLD = ["accepted/s", "CPU µs", "OK p50 ms", "OK p99 ms", "queries/s", "p50 ms", "p99 ms", "events each"];

/**
 * Measures `rounds` times: each section at each relay, in turn, and the next time the other way round. The native
 * programs begin with empty stores and keep them; so does the other relay what it has.
 */
export async function beside({ url, relay = null, pid = null, programs = [PROGRAM], rounds = 3, only = Object.keys(SECTIONS), quick = false }) {
  const hosts = [];
  try {
    for (const program of programs) hosts.push({ name: program, ...(await start({ program })) });
    const relays = [
      ...hosts.map((host) => ({ name: host.name, target: hostTarget(host), cpu: host.cpu })),
      { name: url, target: ["--url", url, ...(relay ? ["--relay", relay] : [])], cpu: pid === null ? null : () => cpuOf(pid) },
    ];
    const taken = new Map();
    for (let round = 0; round < rounds; round++) {
      for (const section of Object.keys(SECTIONS).filter((name) => only.includes(name))) {
        for (const one of round % 2 ? relays.toReversed() : relays) await take(taken, one, section, quick);
      }
    }
    const ratios = hosts.map(({ name }) => `${name} / ${url}`);
    return [["what", ...relays.map(({ name }) => name), ...ratios], ...rows(taken, relays)];
  } finally {
    for (const host of hosts) await host.stop();
  }
}

/** Measures a section at a relay; the figures are added to those taken before, by what they are of and by relay. */
async function take(taken, { name, target, cpu }, section, quick) {
  const before = cpu?.();
  const cases = await generate(section, ...target, ...SECTIONS[section](quick));
  // Of the other sections the CPU is that of many things.
  if (cpu && section === "ingest") cases[0]["CPU µs"] = ((cpu() - before) * 1e6) / cases[0].events;
  for (const figures of cases) {
    for (const told of TOLD.filter((told) => told in figures)) {
      const what = `${section}, ${figures.name}: ${told}`;
      if (!taken.has(what)) taken.set(what, new Map());
      const of = taken.get(what);
      of.set(name, [...(of.get(name) ?? []), figures[told]]);
    }
  }
}

/** A row for each figure: its median at each relay, and its ratio to that of the last one, pair by pair. */
function rows(taken, relays) {
  return [...taken].map(([what, of]) => {
    const all = relays.map(({ name }) => of.get(name) ?? []);
    const last = all.at(-1);
    const ratios = all.slice(0, -1).map((figures) => figures.map((figure, n) => figure / last[n]).filter(Number.isFinite));
    return [what, ...all.map((figures) => (figures.length ? number(median(figures)) : "")), ...ratios.map(spread)];
  });
}

function spread(ratios) {
  if (ratios.length === 0) return "";
  return `${number(median(ratios))} (${number(Math.min(...ratios))} to ${number(Math.max(...ratios))})`;
}

function median(figures) {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
