// A frame is measured before it enters WASM memory, which never shrinks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { rawClient, startRelay } from "../support/relay.mjs";
import { measured } from "../support/worker.mjs";

const MIB = 1_048_576;

test("frames above 1 MiB end their connection and leave memory as it was", { timeout: 60_000 }, async () => {
  const relay = await startRelay({ ...measured(), vars: { AUTH_REQUIRED: "false" } });
  const send = async (frame) => {
    const client = await rawClient(relay.ws);
    client.socket.on("error", () => {}); // it may be closed while it still sends
    client.socket.send(frame);
    const { code } = await client.ended;
    return code;
  };
  const before = await relay.memory();
  for (let n = 0; n < 3; n++) {
    assert.equal(await send("x".repeat(30 * MIB)), 1009);
    assert.equal(await send("\u20ac".repeat(10 * MIB)), 1009);
    assert.equal(await send(Buffer.alloc(30 * MIB)), 1009);
    // So many bytes as UTF-8 alone.
    assert.equal(await send("\u20ac".repeat(MIB / 3 + 1)), 1009);
  }
  assert.equal(await relay.memory(), before);
  // The longest that is heard, in letters of one, two and three bytes.
  for (const text of ["x".repeat(MIB), "\u00e9".repeat(MIB / 2), "\u20ac".repeat(Math.floor(MIB / 3))]) {
    const client = await rawClient(relay.ws);
    await client.next();
    client.send(text);
    assert.deepEqual((await client.next()).slice(0, 1), ["NOTICE"]);
    client.close();
  }
  // A string of JavaScript's is given three bytes a letter while it is copied.
  assert.ok((await relay.memory()) - before < 8 * MIB);
  await relay.stop();
});
