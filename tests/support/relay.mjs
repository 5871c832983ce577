// A relay on either host, and clients for it: nostr-tools for the protocol as a library speaks it, a bare
// socket for everything a library would not send.
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import { Relay, useWebSocketImplementation } from "nostr-tools/relay";
import WebSocket from "ws";
import { checkRefusal } from "./refusals.mjs";

/** The host under test: the Worker on Miniflare, or the native program. */
export const NATIVE = process.env.NEXUS_HOST === "native";

/** How many gateways the Worker has: where they are several, each connection that does not say otherwise is of an address of its own. */
const GATEWAYS = Number(process.env.NEXUS_GATEWAYS ?? 1);
/** How many partitions the relay has. */
export const PARTITIONS = Number(process.env.NEXUS_PARTITIONS ?? 1);
/** Whether the Worker's databases are its objects' own. */
export const OWN_STORE = !NATIVE && process.env.NEXUS_STORE === "object";
/** For tests of what is a D1's alone: why they are skipped. */
export const D1 = { skip: OWN_STORE && "it is about D1, and the database is the object's own" };

let addresses = 0;

class AnywhereSocket extends WebSocket {
  /** As its parent, which takes subprotocols, options or both. */
  constructor(url, ...more) {
    const options = more.at(-1)?.constructor === Object ? more.pop() : {};
    const own = GATEWAYS > 1 ? { "cf-connecting-ip": `10.9.${(++addresses >> 8) & 255}.${addresses & 255}` } : {};
    super(url, more[0] ?? [], { ...options, headers: { ...own, ...options.headers } });
  }
}

useWebSocketImplementation(AnywhereSocket);

/** What tests set unless they say otherwise: limits of rate and shared numbers have tests of their own, the others read their own writes. */
export const SETTINGS = {
  RELAY_URL: "wss://nexus.example",
  RATE_LIMITS: "off",
  STATS_SHARED_SECONDS: 0,
  ...(GATEWAYS > 1 && { GATEWAYS }),
  ...(PARTITIONS > 1 && { PARTITIONS }),
  ...(OWN_STORE && { STORE: "object" }),
};

/**
 * The relay on a free port, or on `port`; `vars` are settings, `persist` is a folder that outlives it. What else
 * there is, is for one host alone.
 */
export async function startRelay({ vars = {}, ...options } = {}) {
  const { start } = await import(NATIVE ? "./native.mjs" : "./worker.mjs");
  const relay = await start({ vars: { ...SETTINGS, ...vars }, ...options });
  return reachable(relay);
}

/** A relay with its socket's address and its numbers. */
export function reachable(relay) {
  return { ...relay, ws: relay.http.replace("http", "ws"), stats: async () => (await fetch(`${relay.http}/api/stats`)).json() };
}

/** Waits until gateways have told each other what they know: some of it is told once in a while. */
export const settled = () => (NATIVE ? sleep(1500) : GATEWAYS > 1 || PARTITIONS > 1 ? sleep(6000) : undefined);

export const seconds = () => Math.floor(Date.now() / 1000);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the relay reports this: gateways tell each other of their clients only now and then. */
export async function reports(relay, pick, expected) {
  for (let tries = 0; tries < 100; tries++) {
    if (isDeepStrictEqual(pick(await relay.stats()), expected)) return;
    await sleep(50);
  }
  assert.deepEqual(pick(await relay.stats()), expected);
}

/** Somebody with a key. */
export function author(secret = generateSecretKey()) {
  return {
    secret,
    pubkey: getPublicKey(secret),
    // Through JSON, which leaves out the mark nostr-tools puts on what it has signed.
    sign: (template) =>
      JSON.parse(JSON.stringify(finalizeEvent({ kind: 1, created_at: seconds(), tags: [], content: "", ...template }, secret))),
  };
}

/** Fails instead of waiting for ever. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`no ${what} within ${ms} ms`)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A socket that keeps every frame and gives them out one by one. */
export async function rawClient(url, options) {
  const socket = new AnywhereSocket(url, options);
  const frames = [];
  const waiting = [];
  let closed;
  const ended = new Promise((resolve) => socket.on("close", (code, reason) => resolve((closed = { code, reason: `${reason}` }))));
  socket.on("message", (data) => {
    const text = `${data}`;
    const frame = text.startsWith("[") ? JSON.parse(text) : text;
    if (Array.isArray(frame)) checkRefusal(frame);
    const first = waiting.shift();
    if (first) first(frame);
    else frames.push(frame);
  });
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  return {
    socket,
    ended,
    frames,
    get closed() {
      return closed;
    },
    send: (message) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    next: (ms = 5000) => (frames.length ? Promise.resolve(frames.shift()) : within(ms, new Promise((resolve) => waiting.push(resolve)), "frame")),
    close: () => socket.close(),
  };
}

/** A bare socket that has proven the key of `who`. */
export async function rawAgent(relay, who = author(), options) {
  const client = await rawClient(relay.ws, options);
  const [, challenge] = await client.next();
  const event = who.sign({ kind: 22242, tags: [["relay", "wss://nexus.example"], ["challenge", challenge]] });
  client.send(["AUTH", event]);
  const answer = await client.next();
  if (answer[2] !== true) throw new Error(`AUTH refused: ${answer[3]}`);
  return client;
}

/** A nostr-tools client, authenticated with the key of `who`. */
export async function agent(relay, who = author()) {
  const client = await Relay.connect(relay.ws);
  while (!client.challenge) await sleep(2);
  await client.auth(async (template) => who.sign({ ...template, tags: relayTag(template.tags) }));
  return Object.assign(who, {
    relay: client,
    publish: async (template) => {
      const event = template.sig ? template : who.sign(template);
      await client.publish(event);
      return event;
    },
    /** Stored events of the filters, up to EOSE. */
    read: (...filters) =>
      within(
        5000,
        new Promise((resolve, reject) => {
          const events = [];
          const sub = client.subscribe(filters, {
            onevent: (event) => events.push(event),
            oneose: () => (resolve(events), sub.close()),
            onclose: (reason) => reject(new Error(reason)),
          });
        }),
        "EOSE",
      ),
    /** Subscribes and waits for EOSE; `next` gives the live events one by one. */
    watch: async (...filters) => {
      const events = [];
      const waiting = [];
      await within(
        5000,
        new Promise((resolve) =>
          client.subscribe(filters, {
            onevent: (event) => (waiting.length ? waiting.shift()(event) : events.push(event)),
            oneose: resolve,
          }),
        ),
        "EOSE",
      );
      return {
        events,
        next: () => (events.length ? Promise.resolve(events.shift()) : within(5000, new Promise((resolve) => waiting.push(resolve)), "event")),
      };
    },
    close: () => client.close(),
  });
}

/** The tests' relay answers to one fixed name whatever port it got. */
function relayTag(tags) {
  return tags.map(([name, value]) => (name === "relay" ? [name, "wss://nexus.example/"] : [name, value]));
}
