// The threads that serve connections: what happens on one of them is told on all, and they end together.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { author, sleep, within } from "../support/relay.mjs";
import { client, folder, open, publish, reload, stored } from "./support.mjs";

/** So many connections, spread over all threads. */
const clients = (relay, count) => Promise.all(Array.from({ length: count }, () => client(relay)));

for (const GATEWAYS of [1, 4]) {
  test(`what happens on one thread of ${GATEWAYS} is told on all`, { timeout: 60_000 }, async () => {
    const relay = await open({ vars: { GATEWAYS } });
    const all = await clients(relay, 8);
    const [customer, provider, nobody] = [author(), author(), author()];
    // An ephemeral event is for who listens, wherever he is.
    const mute = "mute: nobody is listening to this ephemeral event";
    for (const one of all) {
      const event = nobody.sign({ kind: 20_001, content: `${all.indexOf(one)}` });
      assert.deepEqual(await publish(one, event), ["OK", event.id, false, mute]);
    }
    const next = (kind) => Promise.all(all.map(async (one) => {
      for (;;) {
        const frame = await one.next();
        if (frame[0] === "EVENT" && frame[2].kind === kind) return frame[2].id;
      }
    }));
    for (const one of all) {
      one.send(["REQ", "s", { kinds: [20_001, 5050, 6050], limit: 0 }]);
      assert.equal((await one.next())[0], "EOSE");
    }
    for (const [n, one] of all.entries()) {
      const event = nobody.sign({ kind: 20_001, content: `heard ${n}` });
      one.send(["EVENT", event]);
      assert.deepEqual(await next(20_001), all.map(() => event.id));
      const request = customer.sign({ kind: 5050, content: `${n}` });
      one.send(["EVENT", request]);
      assert.deepEqual(await next(5050), all.map(() => request.id));
      const result = provider.sign({ kind: 6050, tags: [["e", request.id], ["p", customer.pubkey]] });
      all.at(-n - 1).send(["EVENT", result]);
      assert.deepEqual(await next(6050), all.map(() => result.id));
    }
    // Numbers are those of all threads, whichever is asked; they are told within a second.
    await sleep(GATEWAYS > 1 ? 1500 : 0);
    for (let tries = 0; tries < 2 * GATEWAYS; tries++) {
      const { connections, subscriptions, events } = await relay.stats();
      const jobs = 2 * all.length;
      assert.deepEqual([connections.open, subscriptions, events.stored, events.accepted], [8, 8, jobs, 3 * all.length]);
      assert.equal((await fetch(`${relay.http}/health`)).status, 200);
    }
    all.forEach((one) => one.close());
    await relay.stop();
  });

  test(`SIGHUP reaches ${GATEWAYS} threads, and what they share`, async (t) => {
    const config = join(folder(t), "nexus.toml");
    const write = (rows, filters) => writeFileSync(config, `[limits]\nrows_per_day = ${rows}\nmax_filters = ${filters}\n`);
    write(20_000, 1);
    const relay = await open({ config, vars: { GATEWAYS } });
    const all = await clients(relay, 8);
    const seen = async () => {
      all.forEach((one) => one.send(["REQ", "two", {}, {}]));
      const frames = await Promise.all(all.map((one) => one.next()));
      return [(await relay.stats()).storage.rows.per_day, ...new Set(frames.map(([verb]) => verb))];
    };
    assert.deepEqual(await seen(), [20_000, "CLOSED"]);
    write(30_000, 2);
    await reload(relay, "settings were read again");
    assert.deepEqual(await seen(), [30_000, "EOSE"]);
    all.forEach((one) => one.close());
    await relay.stop();
  });

  test(`SIGTERM under load ends ${GATEWAYS} threads together: each OK is true`, { timeout: 120_000 }, async (t) => {
    const persist = folder(t);
    const who = author();
    const accepted = [];
    for (let round = 0; round < 3; round++) {
      const relay = await open({ persist, vars: { GATEWAYS } });
      const notices = (await clients(relay, 8)).map(async (one, c) => {
        for (let n = 0; ; n += 8) {
          for (let m = n; m < n + 8; m++) one.send(["EVENT", who.sign({ content: `${round} ${c} ${m}` })]);
          for (let answers = 0; answers < 8; answers++) {
            const frame = await one.next();
            if (frame[0] === "NOTICE") return [frame[1], await one.ended];
            if (frame[2]) accepted.push(frame[1]);
            else assert.equal(frame[3], "error: the relay restarts; publish it again in some seconds");
          }
        }
      });
      await sleep(50 + Math.random() * 200);
      relay.program.kill("SIGTERM");
      const bye = ["error: the relay restarts; connect again in some seconds", { code: 1006, reason: "" }];
      for (const notice of notices) assert.deepEqual(await notice, bye);
      assert.deepEqual(await within(10_000, relay.over(), "end"), { code: 0, signal: null });
    }
    const again = await open({ persist, vars: { GATEWAYS } });
    const ids = new Set();
    for (let from = 0; from < accepted.length; from += 200) {
      const some = await stored(again, { ids: accepted.slice(from, from + 200) });
      some.forEach(({ id }) => ids.add(id));
    }
    assert.deepEqual(accepted.filter((id) => !ids.has(id)), []);
    assert.ok(accepted.length > 100, `${accepted.length} events say little`);
    await again.stop();
  });
}
