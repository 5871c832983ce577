// Gateways and partitions as objects, in a process without sockets: what each side takes, and what they send each other.
import { generate } from "./generator.mjs";

/** Gateways and partitions. */
const SHAPES = [[1, 1], [4, 1], [8, 1], [32, 1], [2, 2], [8, 4], [32, 8]];
/** An hour of a market, and 100,000 agents that wait for a job. */
const HOUR = { gateways: 16, partitions: 4, subscriptions: 100_000, rate: 20, seconds: 3600 };

const two = (value) => Number(value.toPrecision(2)).toLocaleString("en");
const flags = (shape) => Object.entries(shape).flatMap(([name, value]) => [`--${name}`, String(value)]);

async function measured(shape) {
  const [figures] = await generate("cluster", ...flags(shape));
  return figures;
}

const HEAD = ["gateways x partitions", "CPU at gateways, µs an event", "CPU at partitions", "SQLite", "copies an event", "requests an event", "bytes an event", "bytes a subscription: gateway, partitions"];
const row = (figures) => [
  figures.name,
  two(figures["gateway µs"]),
  two(figures["partition µs"]),
  two(figures["database µs"]),
  figures.copies.toFixed(2),
  figures.requests.toFixed(2),
  Math.round(figures.bytes).toLocaleString("en"),
  ["at its gateway", "at all partitions"].map((where) => two(figures[`bytes a subscription ${where}`])).join(", "),
];

/** The tables: the shapes, and the hour. */
export async function cluster({ quick = false, say }) {
  const shapes = [];
  for (const [gateways, partitions] of quick ? [[2, 2]] : SHAPES) {
    say(`measuring: ${gateways} gateways, ${partitions} partitions`);
    const moment = quick ? { subscriptions: 20, customers: 8, rate: 40, seconds: 1 } : {};
    shapes.push(row(await measured({ gateways, partitions, ...moment })));
  }
  if (quick) return [[HEAD, ...shapes]];
  say("measuring: an hour of a market");
  const hour = await measured(HOUR);
  const jobs = hour["jobs a second"];
  const busy = ["gateway", "partition", "database"].map((who) => {
    const share = hour[`busiest ${who} %`];
    return [`the busiest ${who}`, `${share.toFixed(1)} % of the hour`, `${Math.round((100 / share) * jobs).toLocaleString("en")} jobs/s`];
  });
  return [
    [HEAD, ...shapes, row(hour)],
    [[`${hour.name}, ${jobs} jobs/s for an hour beside ${HOUR.subscriptions.toLocaleString("en")} subscriptions`, "busy", "at 100 % of a thread"], ...busy],
  ];
}
