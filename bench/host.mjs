// One workerd with the relay and the Worker of the limits, each on a socket of its own: no proxy between,
// and D1 on disk.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare, convertV4MiniflareOptions as options } from "miniflare";
import { readConfig } from "../scripts/config.mjs";
import { migrate } from "../scripts/migrate.mjs";
import { ROOT } from "../scripts/run.mjs";
import { PROBE } from "./build.mjs";

const { compatibility_date: DATE } = await readConfig();
export const RELAY_URL = "wss://nexus.example";
const socket = () => [{ host: "127.0.0.1", port: 0 }];

/**
 * Starts them. `folder` is where D1's files are, a new one when left out; `vars` are settings of the relay;
 * `probe` says whether the limits are wanted; `store` is what the relay's database is.
 */
export async function start({ folder, vars = {}, probe = false, store = "d1" } = {}) {
  const own = folder === undefined;
  const persist = folder ?? mkdtempSync(join(tmpdir(), "nexus-bench-"));
  const before = new Set(children());
  const relay = {
    name: "nexus",
    rootPath: ROOT,
    modules: [
      { type: "ESModule", path: "build/index.js" },
      { type: "CompiledWasm", path: "build/index_bg.wasm" },
    ],
    compatibilityDate: DATE,
    d1Databases: store === "d1" ? { DB: "nexus" } : {},
    durableObjects: { NEXUS_RELAY: { className: "NexusRelay", useSQLite: true } },
    bindings: { RELAY_URL, RATE_LIMITS: "off", LOG_LEVEL: "error", STATS_SHARED_SECONDS: "0", STORE: store, ...vars },
    unsafeDirectSockets: socket(),
  };
  const limits = {
    name: "probe",
    modulesRoot: PROBE,
    modules: [
      { type: "ESModule", path: join(PROBE, "worker.js") },
      { type: "CompiledWasm", path: join(PROBE, "probe.wasm") },
    ],
    compatibilityDate: DATE,
    d1Databases: { DB: "limits" },
    durableObjects: { ECHO: { className: "Echo", useSQLite: true } },
    unsafeDirectSockets: socket(),
  };
  const miniflare = new Miniflare(options({ host: "127.0.0.1", port: 0, resourcePersistencePath: persist, workers: probe ? [relay, limits] : [relay] }));
  await miniflare.ready;
  const names = [...(store === "d1" ? ["nexus"] : []), ...(probe ? ["probe"] : [])];
  for (const name of names) await migrate(await miniflare.getD1Database("DB", name));
  const pid = children().find((child) => !before.has(child));
  const http = (await miniflare.unsafeGetDirectURL("nexus")).href.replace(/\/$/, "");
  const stats = async () => (await fetch(`${http}/api/stats`)).json();
  return {
    http,
    url: http.replace("http", "ws"),
    probe: probe ? (await miniflare.unsafeGetDirectURL("probe")).href.replace(/\/$/, "") : null,
    /** Waits until the relay has been awake for so many seconds, and keeps it so. */
    awakeFor: async (seconds) => {
      while ((await stats()).uptime_seconds < seconds) await new Promise((resolve) => setTimeout(resolve, 2000));
    },
    /** Resident memory of workerd, in bytes. */
    memory: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024,
    stats,
    stop: async () => {
      await miniflare.dispose();
      if (own) rmSync(persist, { recursive: true, force: true });
    },
  };
}

/** Processes that this one has started. */
function children() {
  try {
    return execFileSync("pgrep", ["-P", String(process.pid), "workerd"], { encoding: "utf8" }).trim().split("\n");
  } catch {
    return [];
  }
}
