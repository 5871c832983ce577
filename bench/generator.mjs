// Running the load generator.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fail } from "../scripts/run.mjs";
import { GENERATOR } from "./build.mjs";

/** Runs a subcommand; what it told, a figure by name for each case. */
export async function generate(...args) {
  const child = spawn(GENERATOR, args, { stdio: ["ignore", "pipe", "inherit"] });
  const cases = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const { section, case: name, figures } = JSON.parse(line);
    cases.push({ section, name, ...Object.fromEntries(figures) });
  }
  const code = child.exitCode ?? (await new Promise((resolve) => child.on("exit", resolve)));
  if (code !== 0) fail(`nexus-bench ${args.join(" ")}: exit status ${code}`);
  return cases;
}

/** Starts idle subscribers; `stop` ends them. */
export async function idle(count, target) {
  const child = spawn(GENERATOR, ["idle", ...target, "--connections", String(count)], { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", () => reject(new Error("the subscribers could not connect")));
  });
  return {
    stop: async () => {
      child.stdin.end();
      await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}
