// The object's alarm, as workerd rings it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, rawAgent, seconds, sleep, startRelay } from "../support/relay.mjs";

/** The Worker with alarms that ring when they are set for, or after 4 s: the relay's own are an hour away. */
const SOONER = `
  import * as built from "./index.js";
  export class NexusRelay extends built.NexusRelay {
    constructor(state, env) {
      const set = state.storage.setAlarm.bind(state.storage);
      state.storage.setAlarm = (at, options) => set(Math.min(Number(at), Date.now() + 4000), options);
      super(state, env);
    }
  }
  export { default } from "./index.js";`;

const rows = async (relay) => (await relay.db.prepare("SELECT count(*) AS count FROM events").first()).count;

test("the alarm removes what has expired while nobody is connected", { timeout: 120_000 }, async () => {
  const relay = await startRelay({
    modules: [
      { type: "ESModule", path: "build/sooner.mjs", contents: SOONER },
      { type: "ESModule", path: "build/index.js" },
      { type: "CompiledWasm", path: "build/index_bg.wasm" },
    ],
  });
  const writer = await rawAgent(relay);
  const publish = async (tags) => {
    const event = author().sign({ tags });
    writer.send(["EVENT", event]);
    assert.deepEqual(await writer.next(), ["OK", event.id, true, ""]);
  };
  await publish([]);
  await publish([["expiration", `${seconds() + 10}`]]);
  writer.close();
  await writer.ended;
  assert.equal(await rows(relay), 2);
  // Nothing is said to the relay from here on: what removes the event is the alarm.
  while ((await rows(relay)) > 1) await sleep(100);
  assert.equal(await rows(relay), 1);
  await relay.stop();
});
