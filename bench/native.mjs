// The native program under the same load, and what it alone is asked: start-up, CPU of an event.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch } from "../scripts/native.mjs";
import { PROGRAM } from "./build.mjs";
import { RELAY_URL } from "./host.mjs";

/** Ticks of /proc in a second. */
const TICKS = 100;

const settings = (folder, vars) => ({
  STORAGE_PATH: join(folder, "nexus.sqlite"),
  BIND: "127.0.0.1:0",
  RELAY_URL,
  RATE_LIMITS: "off",
  STATS_SHARED_SECONDS: "0",
  LOG_LEVEL: "warn",
  ...vars,
});

/** Starts it; as `start` of the Worker's host, and `cpu` says the seconds of CPU it has used. */
export async function start({ folder, vars = {}, program = PROGRAM } = {}) {
  const own = folder === undefined;
  const persist = folder ?? mkdtempSync(join(tmpdir(), "nexus-bench-"));
  const from = performance.now();
  const log = (line) => line.includes('"listening"') || console.error(line);
  const { child, ended, http } = await launch(program, { env: settings(persist, vars), log });
  const proc = (file) => readFileSync(`/proc/${child.pid}/${file}`, "utf8");
  return {
    pid: child.pid,
    http,
    url: http.replace("http", "ws"),
    started: performance.now() - from,
    memory: () => Number(/VmRSS:\s+(\d+)/.exec(proc("status"))[1]) * 1024,
    cpu: () => cpuOf(child.pid),
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
      if (own) rmSync(persist, { recursive: true, force: true });
    },
  };
}

/** Seconds of CPU that a process has used, all its threads. */
export function cpuOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const [user, system] = stat.slice(stat.lastIndexOf(") ")).split(" ").slice(12, 14).map(Number);
  return (user + system) / TICKS;
}

/** Makes the tables of a new store in a folder; its file. */
export async function tables(folder) {
  const env = settings(folder, {});
  execFileSync(PROGRAM, ["migrate"], { env, stdio: ["ignore", "ignore", "inherit"] });
  return env.STORAGE_PATH;
}

/** Megabytes of the program. */
export const size = () => statSync(PROGRAM).size / 1e6;
