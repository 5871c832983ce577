// The native program as a command, and events in numbers.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROGRAM, start } from "../support/native.mjs";
import { SETTINGS, rawClient, reachable, sleep, within } from "../support/relay.mjs";

/** Runs a command to its end; `under` is another one that runs it. */
export function nexus(args, { env = {}, under = [], ...options } = {}) {
  const [command, ...rest] = [...under, PROGRAM, ...args];
  const ran = spawnSync(command, rest, { encoding: "utf8", maxBuffer: 100_000_000, env: { PATH: process.env.PATH, RELAY_URL: "wss://nexus.example", ...env }, ...options });
  return { code: ran.status, out: ran.stdout, err: ran.stderr };
}

/** A folder that is gone after the test. */
export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "nexus-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Skips a test that this machine cannot run; where CI=true it fails. */
export function cannot(t, why) {
  if (process.env.CI === "true") throw new Error(`${why}; where CI=true everything must run`);
  t.skip(why);
}

/** A line of the log without its time, which each of them has. */
function timed(line) {
  const { time, ...rest } = JSON.parse(line);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/.test(time)) throw new Error(`a line without its time: ${line}`);
  return rest;
}

/** A relay that asks for no key; what it logs is kept in `lines`, without times. */
export async function open({ vars = {}, ...options } = {}) {
  const lines = [];
  const log = (line) => lines.push(line.startsWith("{") ? timed(line) : line);
  const relay = await start({ vars: { ...SETTINGS, AUTH_REQUIRED: "false", ...vars }, log, ...options });
  return { ...reachable(relay), lines };
}

/** Has the settings read again, until that is logged; the line of the log. */
export async function reload(relay, what) {
  const from = relay.lines.length;
  relay.program.kill("SIGHUP");
  for (let tries = 0; tries < 200; tries++) {
    const line = relay.lines.slice(from).find((line) => line.what === what);
    if (line) return line;
    await sleep(20);
  }
  throw new Error(`"${what}" was not logged`);
}

/** A client past the challenge. */
export async function client(relay, options) {
  const one = await rawClient(relay.ws, options);
  await one.next();
  return one;
}

/** Publishes an event; what the OK says. */
export async function publish(one, event, ms = 5000) {
  one.send(["EVENT", event]);
  for (;;) {
    const frame = await one.next(ms);
    if (frame[0] === "OK" && frame[1] === event.id) return frame;
  }
}

/** The stored events that filters match. */
export async function stored(relay, ...filters) {
  const one = await client(relay);
  one.send(["REQ", "stored", ...filters]);
  const events = [];
  for (;;) {
    const frame = await one.next();
    if (frame[0] === "EOSE") break;
    if (frame[0] !== "EVENT") throw new Error(JSON.stringify(frame));
    events.push(frame[2]);
  }
  one.close();
  await within(5000, one.ended, "close");
  return events;
}
