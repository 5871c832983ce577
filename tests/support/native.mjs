// The native program, as `cargo build` leaves it.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const PROGRAM = join(process.env.CARGO_TARGET_DIR ?? "target", "debug/nexus");

/** What runs now; nothing is left behind. */
const running = new Set();
process.on("exit", () => running.forEach((program) => program.kill("SIGKILL")));

/**
 * Starts it with settings from the environment alone, or those of a `config` file as well, and waits until it
 * listens; `log` is given each line.
 */
export async function start({ vars, persist, port = 0, config, log = (line) => process.stderr.write(`${line}\n`) }) {
  const folder = persist ?? mkdtempSync(join(tmpdir(), "nexus-"));
  const settings = Object.fromEntries(Object.entries(vars).map(([key, value]) => [key, `${value}`]));
  const env = { PATH: process.env.PATH, BIND: `127.0.0.1:${port}`, STORAGE_PATH: join(folder, "nexus.sqlite"), SHARDS: "2", ...settings };
  const program = spawn(PROGRAM, config ? ["--config", config] : [], { env, stdio: ["ignore", "inherit", "pipe"] });
  running.add(program);
  const ended = new Promise((resolve) =>
    program.on("exit", (code, signal) => {
      running.delete(program);
      resolve({ code, signal });
    }),
  );
  const lines = createInterface({ input: program.stderr });
  const listening = new Promise((resolve) =>
    lines.on("line", (line) => {
      const said = line.startsWith("{") ? JSON.parse(line) : {};
      if (said.what === "listening") resolve(said.address);
      log(line);
    }),
  );
  const address = await Promise.race([listening, ended]);
  if (typeof address !== "string") throw new Error(`nexus ended at once: ${JSON.stringify(address)}`);
  // A test that has failed does not wait for it.
  program.unref();
  program.stderr.unref();
  return {
    http: `http://${address}`,
    program,
    folder,
    /** Waits for its end. */
    over: () => {
      program.ref();
      return ended;
    },
    stop: async () => {
      program.ref();
      program.kill("SIGTERM");
      const { code } = await ended;
      if (!persist) rmSync(folder, { recursive: true, force: true });
      if (code !== 0) throw new Error(`nexus ended with ${code}`);
    },
  };
}
