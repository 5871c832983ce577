// The systemd unit: what systemd says of it, and that the program serves as it would be started by it, with the
// README's settings.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { launch } from "../../scripts/native.mjs";
import { debian } from "../../scripts/setup.mjs";
import { PROGRAM } from "../support/native.mjs";
import { author, rawClient } from "../support/relay.mjs";
import { cannot, folder } from "./support.mjs";

const UNIT = readFileSync("deploy/nexus.service", "utf8");
const INSTALLED = "/usr/local/bin/nexus";
const all = (key) => [...UNIT.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value]) => value);

test("systemd finds no mistake in the unit", { timeout: 240_000 }, async (t) => {
  const missing = await debian("systemd-analyze", "systemd");
  if (missing) return cannot(t, missing);
  const verify = (text) => {
    const file = join(folder(t), "nexus.service");
    writeFileSync(file, text.replaceAll(INSTALLED, PROGRAM));
    const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
    return { status, said: stdout + stderr };
  };
  assert.deepEqual(verify(UNIT), { status: 0, said: "" });
  // It would say so.
  assert.match(verify(UNIT.replace(/^RestartSec=.*$/m, "RestartSec=soon")).said, /Failed to parse/);
});

test("what the unit starts serves wss:// with the README's settings and a key that only root may read", async (t) => {
  const here = folder(t);
  const [etc, state, credentials] = ["etc", "state", "credentials"].map((name) => join(here, name));
  [etc, state, credentials].forEach((path) => mkdirSync(path));
  copyFileSync("tests/native/tls/cert.pem", join(etc, "cert.pem"));
  copyFileSync("tests/native/tls/key.pem", join(etc, "key.pem"));
  chmodSync(join(etc, "key.pem"), 0o600);
  const places = (text) => text.replaceAll("/etc/nexus", etc).replaceAll("/var/lib/nexus", state).replaceAll("%d", credentials);
  // systemd hands them over.
  for (const [id, source] of all("LoadCredential").map((credential) => places(credential).split(":"))) copyFileSync(source, join(credentials, id));
  const [, settings] = /^## Run the native program$.*?^```toml\n(.*?)^```/ms.exec(readFileSync("README.md", "utf8"));
  assert.match(settings, /^bind = "0\.0\.0\.0:443"$/m);
  assert.match(UNIT, /^AmbientCapabilities=CAP_NET_BIND_SERVICE$/m);
  // The files themselves are for root alone.
  writeFileSync(join(etc, "nexus.toml"), settings.replaceAll(/"\/etc\/nexus\/(\w+)\.pem"/g, '"/nowhere/$1.pem"').replace("/var/lib/nexus", state));
  const env = Object.fromEntries(all("Environment").flatMap((line) => places(line).split(" ").map((pair) => pair.split("="))));
  const [program, ...args] = places(all("ExecStart")[0]).split(" ");
  assert.equal(program, INSTALLED);
  const lines = [];
  const { child, ended, http } = await launch(PROGRAM, { args, env: { ...env, CREDENTIALS_DIRECTORY: credentials, BIND: "127.0.0.1:0" }, log: (line) => lines.push(line) });
  const one = await rawClient(http.replace("http://127.0.0.1", "wss://localhost"), { ca: readFileSync("tests/native/tls/cert.pem") });
  const [, challenge] = await one.next();
  one.send(["AUTH", author().sign({ kind: 22242, tags: [["relay", "wss://relay.example.com"], ["challenge", challenge]] })]);
  assert.equal((await one.next())[2], true);
  one.close();
  child.kill("SIGTERM");
  assert.deepEqual(await ended, { code: 0, signal: null }, lines.join("\n"));
});
