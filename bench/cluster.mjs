// Gateways and partitions as objects, in a process without sockets: what each side takes, and what they send each other.
import { generate } from "./generator.mjs";

/** Gateways and partitions. */
const SHAPES = [[1, 1], [4, 1], [8, 1], [32, 1], [2, 2], [8, 4], [32, 8]];
/** A market beside 100,000 agents that wait for a job: an hour of it, and half a minute of a rush. */
const LARGE = { gateways: 16, partitions: 4, subscriptions: 100_000, customers: 1000 };
const HOUR = { ...LARGE, rate: 20, seconds: 3600 };
const RUSH = { ...LARGE, rate: 2000, seconds: 30 };

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
  const busy = [];
  for (const [name, shape] of [["an hour of a market", HOUR], ["a rush", RUSH]]) {
    say(`measuring: ${name}`);
    const figures = await measured(shape);
    const share = (who) => figures[`busiest ${who} %`];
    const first = ["gateway", "partition", "database"].reduce((one, other) => (share(other) > share(one) ? other : one));
    const most = `the ${first}, at ${Math.round((100 / share(first)) * shape.rate).toLocaleString("en")} jobs/s`;
    busy.push([`${name}: ${shape.rate.toLocaleString("en")} jobs/s for ${shape.seconds} s`, ...["gateway", "partition", "database"].map((who) => `${share(who).toFixed(1)} %`), most]);
  }
  const { gateways, partitions, subscriptions } = LARGE;
  const head = [`${gateways}x${partitions} beside ${subscriptions.toLocaleString("en")} subscriptions`, "busiest gateway", "partition", "database", "full first, if all grows alike"];
  return [[HEAD, ...shapes], [head, ...busy]];
}
