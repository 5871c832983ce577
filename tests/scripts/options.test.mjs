// Arguments of which some are ours and the others wrangler's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { list, some, text, wrongEnv } from "../../scripts/options.mjs";

const OPTIONS = { port: text, var: list };

test("what is ours alone is not handed on, all else as it was given", () => {
  for (const [args, values, rest] of [
    [["--port", "9000", "--env", "test", "--live-reload"], { port: "9000", env: "test" }, ["--port", "9000", "--live-reload"]],
    [["--env=test", "--var", "A:1", "--var=B:2"], { env: "test", var: ["A:1", "B:2"] }, ["--var", "A:1", "--var=B:2"]],
    [["-e", "test", "--test-scheduled", "--help"], { env: "test", help: true }, ["--test-scheduled"]],
    [["d1", "execute", "DB", "--command", "SELECT 1 -- --env no"], {}, ["d1", "execute", "DB", "--command", "SELECT 1 -- --env no"]],
  ]) {
    const found = some(args, OPTIONS);
    assert.deepEqual(found.rest, rest);
    for (const [key, value] of Object.entries(values)) assert.deepEqual(found.values[key], value, key);
    assert.equal(found.values.env, values.env);
  }
  assert.deepEqual(some(["--var", "A:1", "B:2"], OPTIONS).words, ["B:2"]);
});

test("a name of a relay is one that a Worker's can end with", () => {
  for (const name of [undefined, "a", "test", "eu-2", "a".repeat(20)]) assert.equal(wrongEnv(name), null);
  for (const name of ["", "Test", "-a", "a-", "a.b", "../a", "a".repeat(21), true]) assert.match(wrongEnv(name), /--env takes a name of at most 20/);
});
