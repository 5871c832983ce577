// The native program's archive: what is in it runs, and is of this version.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { archive } from "../../scripts/archive.mjs";
import { program } from "../../scripts/native.mjs";
import { ROOT } from "../../scripts/run.mjs";

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "nexus-archive-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("the archive has the program and what it is installed with", async (t) => {
  const to = folder(t);
  const file = await archive(program("debug"), to);
  assert.match(basename(file), new RegExp(`^nexus-${version}-linux-(x86_64|aarch64)\\.tar\\.gz$`));
  assert.deepEqual(readdirSync(to), [basename(file)], "nothing else is left");
  assert.equal(spawnSync("tar", ["--extract", "--file", file, "--directory", to]).status, 0);
  const out = join(to, basename(file, ".tar.gz"));
  assert.deepEqual(readdirSync(out).sort(), ["CHANGELOG.md", "LICENSE", "nexus", "nexus.service", "nexus.toml"]);
  const ask = (...args) => spawnSync(join(out, "nexus"), args, { cwd: out, encoding: "utf8", env: {} });
  assert.equal(ask("--version").stdout.trim(), `nexus ${version}`);
  const check = ask("--config", "nexus.toml", "config", "check");
  assert.equal(check.status, 0, check.stdout + check.stderr);
});

test("a program of another version is not packed", (t) => {
  const other = join(folder(t), "nexus");
  writeFileSync(other, "#!/bin/sh\necho nexus 0.0.1\n", { mode: 0o755 });
  const { status, stderr } = spawnSync(process.execPath, ["scripts/archive.mjs", "--program", other], { encoding: "utf8" });
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`--version says nexus 0\\.0\\.1, and this is version ${version.replaceAll(".", "\\.")}`));
});
