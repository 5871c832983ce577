// The built Worker on Miniflare.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { Miniflare, convertV4MiniflareOptions as options } from "miniflare";
import { readConfig } from "../../scripts/config.mjs";
import { migrate } from "../../scripts/migrate.mjs";
import { database, open } from "./own_store.mjs";

/** The name of each partition's database, by its binding. */
const databases = (partitions) =>
  Object.fromEntries(Array.from({ length: partitions }, (_, n) => (n === 0 ? ["DB", "nexus"] : [`DB_${n}`, `nexus-${n}`])));

const BUILT = [
  { type: "ESModule", path: "build/index.js" },
  { type: "CompiledWasm", path: "build/index_bg.wasm" },
];

/**
 * Starts it; without `migrate` its databases are empty, `host` is what else Miniflare is told. With `STORE = object` there is
 * no D1: an object migrates its own database, which has had the SQL of `before`.
 */
export async function start({ vars, persist, migrate: tables = true, modules = BUILT, before, ...host }) {
  const { compatibility_date: compatibilityDate, assets } = await readConfig();
  const partitions = Number(vars.PARTITIONS ?? 1);
  const isOwn = vars.STORE === "object";
  const miniflare = new Miniflare(options({
    modules: isOwn ? open(modules, before) : modules,
    compatibilityDate,
    d1Databases: isOwn ? {} : databases(partitions),
    durableObjects: { NEXUS_RELAY: { className: "NexusRelay", useSQLite: true } },
    assets: {
      directory: "build/hud",
      binding: "ASSETS",
      run_worker_first: assets.run_worker_first,
      routerConfig: { has_user_worker: true },
    },
    bindings: vars,
    host: "127.0.0.1",
    ...host,
    ...(persist && { resourcePersistencePath: persist }),
  }));
  const http = (await miniflare.ready).href.replace(/\/$/, "");
  const bindings = Object.keys(host.d1Databases ?? databases(partitions));
  const dbs = await Promise.all(bindings.map((binding, n) => (isOwn ? database(http, n) : miniflare.getD1Database(binding))));
  if (tables && !isOwn) await Promise.all(dbs.map((db) => migrate(db)));
  const [db] = dbs;
  const memory = async () => Number(await (await fetch(`${http}/memory`)).text());
  const stall = (on, object = "nexus") => fetch(`${http}/${on ? "stall" : "go"}?${object}`);
  const fail = (of) => fetch(`${http}/fail?${of}`);
  const calls = async () => Number(await (await fetch(`${http}/calls`)).text());
  const told = async () => (await fetch(`${http}/told`)).json();
  const counted = async () => Number(await (await fetch(`${http}/counted`)).text());
  const reset = (object) => fetch(`${http}/reset?${object}`).catch(() => {});
  return { http, db, dbs, miniflare, memory, stall, fail, calls, told, counted, reset, stop: () => miniflare.dispose() };
}

/**
 * What makes the Worker tell how many bytes its WASM memory has, by `memory()`, and how often D1 was called, by `calls()`;
 * and its D1 stall while `stall(true)`, that of another partition while `stall(true, object)`, or fail of what has a parameter
 * with the text of `fail(text)` in it: options for the start.
 */
export function measured() {
  const watch = `
    const { Instance } = WebAssembly;
    WebAssembly.Instance = class extends Instance {
      constructor(module, imports) {
        super(module, imports);
        globalThis.wasm = this;
      }
    };`;
  const worker = `
    import "./watch.mjs";
    import * as built from "./index.js";
    const ours = ["/stall", "/go", "/fail", "/calls"];
    // D1 as it is, but that its batches wait before the gate, and some fail. Each object has a gate of its own: it cannot wait
    // for what happens in another one.
    const stalled = (db, gate) => {
      const fails = ({ params }) => gate.of && params.some((param) => String(param).includes(gate.of));
      const batch = async (db, statements) => {
        gate.calls++;
        await gate.open;
        if (statements.some(fails)) throw new Error("D1_ERROR: it fails of this");
        return db.batch(statements);
      };
      return new Proxy(db, {
        get: (target, name) => {
          if (name === "batch") return (statements) => batch(target, statements);
          return typeof target[name] === "function" && name !== "constructor" ? target[name].bind(target) : target[name];
        },
      });
    };
    const gated = (gate) => ([name, value]) => [name, /^DB(_[0-9]+)?$/.test(name) ? stalled(value, gate) : value];
    export class NexusRelay extends built.NexusRelay {
      constructor(state, env) {
        const gate = { open: Promise.resolve(), calls: 0 };
        super(state, Object.fromEntries(Object.entries(env).map(gated(gate))));
        this.gate = gate;
      }
      async fetch(request) {
        const { pathname, search } = new URL(request.url);
        const { gate } = this;
        if (pathname === "/stall") gate.open = new Promise((open) => (gate.go = open));
        if (pathname === "/go") gate.go?.();
        if (pathname === "/fail") gate.of = search.slice(1);
        return ours.includes(pathname) ? new Response(String(gate.calls)) : super.fetch(request);
      }
    }
    export default class extends built.default {
      fetch(request) {
        const { pathname, search } = new URL(request.url);
        if (pathname === "/memory") return new Response(String(globalThis.wasm.exports.memory.buffer.byteLength));
        if (!ours.includes(pathname)) return super.fetch(request);
        const objects = this.env.NEXUS_RELAY;
        const object = pathname === "/stall" || pathname === "/go" ? search.slice(1) : "nexus";
        return objects.get(objects.idFromName(object)).fetch(request);
      }
    }`;
  const modules = [
    { type: "ESModule", path: "build/measured.mjs", contents: worker },
    { type: "ESModule", path: "build/watch.mjs", contents: watch },
    { type: "ESModule", path: "build/index.js" },
    { type: "CompiledWasm", path: "build/index_bg.wasm" },
  ];
  return { modules };
}

/**
 * What makes objects of the Worker note what others tell them, for `told()`: which object heard how many bytes from whom; and
 * `reset(object)` ends one's memory: options for the start. workerd has no jurisdictions: here an object of one has its name before
 * its own, as `eu/nexus`.
 */
export function between() {
  const worker = `
    import * as built from "./index.js";
    const told = [];
    const within = (objects, before = "") => new Proxy(objects, {
      get: (_, name) => {
        if (name === "jurisdiction") return (one) => within(objects, one + "/");
        if (name === "idFromName" || name === "getByName") return (own, ...more) => objects[name](before + own, ...more);
        return typeof objects[name] === "function" && name !== "constructor" ? objects[name].bind(objects) : objects[name];
      },
    });
    const all = (env) => ({ ...env, NEXUS_RELAY: within(env.NEXUS_RELAY) });
    export class NexusRelay extends built.NexusRelay {
      constructor(state, env) {
        super(state, all(env));
        this.own = state;
      }
      async fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname === "/reset") return this.own.abort("a test resets it");
        if (request.method === "POST") {
          const body = await request.arrayBuffer();
          told.push({ object: this.own.id.name, from: pathname, bytes: body.byteLength });
          return super.fetch(new Request(request.url, { method: "POST", body }));
        }
        return super.fetch(request);
      }
    }
    export default class extends built.default {
      constructor(context, env) {
        super(context, all(env));
      }
      fetch(request) {
        const { pathname, search } = new URL(request.url);
        if (pathname === "/told") return Response.json(told.splice(0));
        if (pathname !== "/reset") return super.fetch(request);
        const objects = this.env.NEXUS_RELAY;
        return objects.get(objects.idFromName(search.slice(1))).fetch(request);
      }
    }`;
  const modules = [
    { type: "ESModule", path: "build/between.mjs", contents: worker },
    { type: "ESModule", path: "build/index.js" },
    { type: "CompiledWasm", path: "build/index_bg.wasm" },
  ];
  return { modules };
}

/** What makes the Worker count the requests that come to it, but those that ask how many, for `counted()`: options for the start. */
export function counting() {
  const worker = `
    import * as built from "./index.js";
    let count = 0;
    export class NexusRelay extends built.NexusRelay {}
    export default class extends built.default {
      fetch(request) {
        if (new URL(request.url).pathname === "/counted") return new Response(String(count));
        count++;
        return super.fetch(request);
      }
    }`;
  const modules = [
    { type: "ESModule", path: "build/counting.mjs", contents: worker },
    { type: "ESModule", path: "build/index.js" },
    { type: "CompiledWasm", path: "build/index_bg.wasm" },
  ];
  return { modules };
}

/** Bytes that workerd, our child, has in memory. */
export function resident() {
  const status = (pid) => {
    try {
      return readFileSync(`/proc/${pid}/status`, "utf8");
    } catch {
      return ""; // it has ended meanwhile
    }
  };
  const own = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).map(status).filter((text) => /^Name:\s+workerd$/m.test(text) && text.includes(`\nPPid:\t${process.pid}\n`));
  assert.equal(own.length, 1);
  return Number(/VmRSS:\s+(\d+) kB/.exec(own[0])[1]) * 1000;
}
