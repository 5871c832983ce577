// kill -9 at random moments under load: what got an OK is there, whole.
import assert from "node:assert/strict";
import { test } from "node:test";
import { author, sleep } from "../support/relay.mjs";
import { client, folder, open, stored } from "./support.mjs";

const ROUNDS = Number(process.env.NEXUS_KILLS ?? 50);
const CLIENTS = 4;

test(`after ${ROUNDS} kills every event that got an OK is stored, none half`, { timeout: 600_000 }, async (t) => {
  const persist = folder(t);
  const who = author();
  let known = 0;
  let relay = await open({ persist });
  for (let round = 0; round < ROUNDS; round++) {
    const tag = `round ${round}`;
    const accepted = [];
    let over = false;
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => client(relay)));
    const load = clients.map(async (one, c) => {
      for (let n = 0; !over && n < 500; n += 8) {
        const some = Array.from({ length: 8 }, (_, m) => who.sign({ kind: 5050, tags: [["t", tag], ["i", `${c} ${n + m}`, "text"]] }));
        some.forEach((event) => one.send(["EVENT", event]));
        for (const _ of some) {
          const frame = await Promise.race([one.next(), one.ended]);
          if (!Array.isArray(frame)) return;
          if (frame[2] === true) accepted.push(frame[1]);
        }
      }
    });
    await sleep(20 + Math.random() * 150);
    relay.program.kill("SIGKILL");
    await relay.over();
    over = true;
    await Promise.allSettled(load);

    relay = await open({ persist });
    // By their tag, which is another table than the events.
    const found = await stored(relay, { "#t": [tag] });
    const ids = new Set(found.map(({ id }) => id));
    assert.deepEqual(accepted.filter((id) => !ids.has(id)), [], `round ${round}: these got an OK`);
    known += found.length;
    const { events, jobs } = await relay.stats();
    assert.deepEqual([events.stored, jobs.requested], [known, known], `round ${round}: events, counts and jobs are of one transaction`);
  }
  assert.ok(known > ROUNDS * 5, `${known} events say little`);
  await relay.stop();
});
