// The database's size is what D1 says of it, however large that is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { D1, agent, startRelay } from "../support/relay.mjs";

const size = async ({ db }) => (await db.prepare("SELECT 1").run()).meta.size_after;

test("the size grows as D1 says", async () => {
  const relay = await startRelay();
  const { storage: before } = await relay.stats();
  assert.equal(before.bytes, await size(relay));
  const writer = await agent(relay);
  for (let n = 0; n < 10; n++) await writer.publish({ content: `${n}`.repeat(50_000) });
  const { storage } = await relay.stats();
  assert.equal(storage.bytes, await size(relay));
  assert.ok(storage.bytes > before.bytes + 500_000, `${before.bytes}, then ${storage.bytes}`);
  assert.match(await (await fetch(`${relay.http}/metrics`)).text(), new RegExp(`^nexus_storage_bytes ${storage.bytes}$`, "m"));
  writer.close();
  await relay.stop();
});

/** The Worker with a D1 that says it is so many bytes larger. */
const larger = (more) => `
  import * as built from "./index.js";
  const said = (result) => ({ ...result, meta: { ...result.meta, size_after: result.meta.size_after + ${more} } });
  class D1Database {
    constructor(db) { this.db = db; }
    prepare(sql) { return this.db.prepare(sql); }
    async batch(statements) { return (await this.db.batch(statements)).map(said); }
  }
  const grown = (env) => ({ ...env, DB: new D1Database(env.DB) });
  export class NexusRelay extends built.NexusRelay {
    constructor(state, env) { super(state, grown(env)); }
  }
  export default class extends built.default {
    constructor(context, env) { super(context, grown(env)); }
  }`;

test("a database of more than 4 GB works like any other", D1, async () => {
  const relay = await startRelay({
    modules: [
      { type: "ESModule", path: "build/larger.mjs", contents: larger(9e9) },
      { type: "ESModule", path: "build/index.js" },
      { type: "CompiledWasm", path: "build/index_bg.wasm" },
    ],
  });
  const writer = await agent(relay);
  const event = await writer.publish({ content: "a" });
  assert.deepEqual((await writer.read({ ids: [event.id] })).map(({ id }) => id), [event.id]);
  const { storage } = await relay.stats();
  assert.equal(storage.bytes, 9e9 + (await size(relay)));
  assert.equal(Math.round(100 * storage.month_dollars_above_included), 300);
  assert.equal((await fetch(`${relay.http}/health`)).status, 200);
  writer.close();
  await relay.stop();
});
