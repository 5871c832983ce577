// The built Worker on Miniflare.
import { Miniflare, convertV4MiniflareOptions as options } from "miniflare";
import { readConfig } from "../../scripts/config.mjs";
import { migrate } from "../../scripts/migrate.mjs";

/** Starts it; without `migrate` its database is empty, `host` is what else Miniflare is told. */
export async function start({ vars, persist, migrate: tables = true, ...host }) {
  const { compatibility_date: compatibilityDate } = await readConfig();
  const miniflare = new Miniflare(options({
    modules: [
      { type: "ESModule", path: "build/index.js" },
      { type: "CompiledWasm", path: "build/index_bg.wasm" },
    ],
    compatibilityDate,
    d1Databases: { DB: "nexus" },
    durableObjects: { NEXUS_RELAY: { className: "NexusRelay", useSQLite: true } },
    assets: {
      directory: "build/hud",
      binding: "ASSETS",
      routerConfig: { invoke_user_worker_ahead_of_assets: true, has_user_worker: true },
    },
    bindings: vars,
    host: "127.0.0.1",
    ...host,
    ...(persist && { resourcePersistencePath: persist }),
  }));
  const http = (await miniflare.ready).href.replace(/\/$/, "");
  const db = await miniflare.getD1Database("DB");
  if (tables) await migrate(db);
  const memory = async () => Number(await (await fetch(`${http}/memory`)).text());
  return { http, db, miniflare, memory, stop: () => miniflare.dispose() };
}

/** What makes the Worker tell how many bytes its WASM memory has, by `memory()`: options for the start. */
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
    export const { NexusRelay } = built;
    export default class extends built.default {
      fetch(request) {
        return new URL(request.url).pathname === "/memory"
          ? new Response(String(globalThis.wasm.exports.memory.buffer.byteLength))
          : super.fetch(request);
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
