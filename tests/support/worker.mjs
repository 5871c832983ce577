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
  return { http, db, miniflare, stop: () => miniflare.dispose() };
}
