// The native program, as `cargo build` leaves it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launch, program as built } from "../../scripts/native.mjs";

export const PROGRAM = built("debug");

/** Partitions of a relay that does not say how many. */
const PARTITIONS = process.env.NEXUS_PARTITIONS ?? "1";

/**
 * Starts it with settings from the environment alone, or those of a `config` file as well, and waits until it
 * listens; `log` is given each line, `under` is a command that runs it.
 */
export async function start({ vars, persist, port = 0, config, under = [], log = (line) => process.stderr.write(`${line}\n`) }) {
  const folder = persist ?? mkdtempSync(join(tmpdir(), "nexus-"));
  const settings = Object.fromEntries(Object.entries(vars).map(([key, value]) => [key, `${value}`]));
  const env = { BIND: `127.0.0.1:${port}`, STORAGE_PATH: join(folder, "nexus.sqlite"), GATEWAYS: 2, PARTITIONS, ...settings };
  const [command, ...args] = [...under, PROGRAM, ...(config ? ["--config", config] : [])];
  const { child: program, ended, http } = await launch(command, { args, env, log });
  // A test that has failed does not wait for it.
  program.unref();
  program.stderr.unref();
  return {
    http,
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
