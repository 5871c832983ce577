// What the Worker's tests of several partitions share: two gateways and two partitions, each with a D1 of its own.
import assert from "node:assert/strict";
import { author, rawAgent, startRelay } from "./relay.mjs";

export const SETTINGS = { GATEWAYS: 2, PARTITIONS: 2 };
const CLIENTS = 8;
/** Each partition's object. */
export const OBJECTS = ["nexus", "nexus-partition-1"];

/** A client of an address of its own, by its number. */
export const from = (n) => ({ headers: { "cf-connecting-ip": `192.0.2.${n}` } });

/** A relay of two gateways and two partitions, with clients at each gateway; the last have these `keys`. */
export async function stage({ vars = {}, keys = [], ...options } = {}) {
  const relay = await startRelay({ vars: { ...SETTINGS, ...vars }, ...options });
  const who = (n) => keys[n - CLIENTS + keys.length] ?? author();
  const all = await Promise.all(Array.from({ length: CLIENTS }, (_, n) => rawAgent(relay, who(n), from(n))));
  const stop = async () => {
    all.forEach((one) => one.close());
    await relay.stop();
  };
  return { relay, all, stop };
}

/** The partition that has the events of a job: message.rs says so. */
export const partitionOf = (job) => parseInt(job.slice(56, 58), 16) % 2;

/** A job of somebody that is in a partition. */
export function jobIn(partition, who, template = {}) {
  for (;;) {
    const job = who.sign({ kind: 5050, content: `${Math.random()}`, ...template });
    if (partitionOf(job.id) === partition) return job;
  }
}

/** The next frame that is one of these. */
async function next(one, verbs, ms = 10_000) {
  for (;;) {
    const frame = await one.next(ms);
    if (verbs.includes(frame[0])) return frame;
  }
}

/** Publishes an event; what the OK says. What the client hears before that is lost. */
export async function publish(one, event, ms) {
  one.send(["EVENT", event]);
  for (;;) {
    const ok = await next(one, ["OK"], ms);
    if (ok[1] === event.id) return ok.slice(2);
  }
}

let asked = 0;

/** What a question is answered: the ids, newest first, and how it ended. */
export async function ask(one, ...filters) {
  const sub = `asked ${++asked}`;
  one.send(["REQ", sub, ...filters]);
  const ids = [];
  for (;;) {
    const frame = await next(one, ["EVENT", "EOSE", "CLOSED"], 60_000);
    if (frame[1] !== sub) continue;
    if (frame[0] === "EVENT") {
      ids.push(frame[2].id);
      continue;
    }
    one.send(["CLOSE", sub]);
    return { ids, end: frame[0], reason: frame[0] === "CLOSED" ? frame[2] : undefined };
  }
}

/** Subscribes a client to jobs and results that come from now on. */
export async function watch(one) {
  one.send(["REQ", "jobs", { kinds: [5050, 6050], limit: 0 }]);
  assert.equal((await next(one, ["EOSE", "CLOSED"]))[0], "EOSE");
}

/** The next event that each client hears of what it watches. */
export const heard = (all) => Promise.all(all.map(async (one) => (await next(one, ["EVENT"]))[2].id));

const ids = async (db) => (await db.prepare("SELECT lower(hex(id)) AS id FROM events ORDER BY id").all()).results.map(({ id }) => id);
export const stored = (relay) => Promise.all(relay.dbs.map(ids));
export const sorted = (events) => events.map(({ id }) => id).sort();
export const get = async (relay, path, n = 0) => (await fetch(`${relay.http}${path}`, from(n))).json();
