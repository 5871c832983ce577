// `npm run archive`: makes dist/nexus-X.Y.Z-linux-x86_64.tar.gz, the native program with what it is installed with. `--program FILE`
// is one that is built already, as in the container.
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative, program } from "./native.mjs";
import { all, text } from "./options.mjs";
import { DIST } from "./package.mjs";
import { ROOT, fail, read, run, say } from "./run.mjs";
import { setup } from "./setup.mjs";

const HELP = `npm run archive -- [options]
  --program FILE   the program, where it is built already`;

/** As Cargo and uname name what a program is for. */
const CPUS = { x64: "x86_64", arm64: "aarch64" };

/** Packs a program that is of this version; the path of the file. */
export async function archive(path, to = DIST) {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const is = read(path, "--version");
  if (is !== `nexus ${version}`) fail(`${path} --version says ${is ?? "nothing"}, and this is version ${version}`);
  const name = `nexus-${version}-${process.platform}-${CPUS[process.arch] ?? process.arch}`;
  const stage = join(to, name);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  cpSync(path, join(stage, "nexus"));
  chmodSync(join(stage, "nexus"), 0o755);
  for (const file of ["deploy/nexus.service", "LICENSE", "CHANGELOG.md"]) cpSync(join(ROOT, file), join(stage, file.split("/").at(-1)));
  writeFileSync(join(stage, "nexus.toml"), read(path, "config", "example") ?? fail(`${path} config example failed`));
  const file = `${stage}.tar.gz`;
  await run("tar", ["--create", "--gzip", "--file", file, "--owner=0", "--group=0", "--numeric-owner", "--directory", to, name]);
  rmSync(stage, { recursive: true });
  return file;
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const { program: given } = all(process.argv.slice(2), { program: text }, HELP);
  if (given === undefined) {
    await setup();
    await buildNative();
  }
  say(`it is ${await archive(given ?? program("release"))}`);
}
