// A relay that is exported and imported into a new file answers as before: every filter, and every event that
// comes back.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { author, rawAgent, seconds, sleep } from "../support/relay.mjs";
import { client, folder, nexus, open, publish } from "./support.mjs";

const DAY = 86_400;
/** What old events need from a relay that takes them from a stranger. */
const OLD = { CREATED_AT_LOWER_LIMIT: 1_000 * DAY };

/** Chance that comes again with its seed. */
function chance(seed) {
  let state = seed >>> 0;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  return { below, one: (list) => list[below(list.length)], in: (n) => below(n) === 0 };
}

/** Events of a market and of people beside it, in an order in which answers may come before what they answer. */
function script(dice, keys) {
  const now = seconds();
  const [customer, other, ...rest] = keys;
  const events = [];
  const somebody = () => dice.one(keys);
  const past = () => now - (dice.in(3) ? dice.below(700 * DAY) : dice.below(3600));
  const add = (who, kind, tags, more = {}) => {
    const event = who.sign({ kind, tags, created_at: now - dice.below(600), content: `${events.length}`, ...more });
    events.push({ who, event });
    return event;
  };
  for (let n = 0; n < 60; n++) {
    const who = somebody();
    add(who, 1, [["t", `${dice.below(4)}`], ...(dice.in(6) ? [["-"]] : []), ...(dice.in(6) ? [["expiration", `${now + 900 * DAY}`]] : [])], { created_at: past() });
    if (dice.in(3)) add(who, dice.one([0, 10002]), [], { created_at: past() });
    if (dice.in(3)) add(who, 30023, [["d", dice.one(["a", "b", "long".repeat(50)])]], { created_at: past() });
    if (dice.in(4)) add(who, 4, [["p", somebody().pubkey]]);
    if (dice.in(4)) add(who, 1059, [["p", somebody().pubkey]]);
    if (dice.in(5)) add(who, 31990, [["d", "h"], ["k", "5050"]], { content: "" });
    if (dice.in(5)) add(who, 1, [["expiration", `${now + 2}`]]);
  }
  for (let n = 0; n < 24; n++) {
    const encrypted = dice.in(2);
    const asked = dice.in(3) ? [] : [dice.one(rest), dice.one(rest)];
    const asks = dice.one([customer, other]);
    const tags = [["i", `${n}`, "text"], ...asked.map(({ pubkey }) => ["p", pubkey]), ...(encrypted ? [["encrypted"]] : [])];
    // Some are over before they are imported, their answers are not.
    if (dice.in(3)) tags.push(["expiration", `${now + 3}`]);
    const template = { kind: 5050, tags, content: `job ${n}`, created_at: now - 600 };
    const job = asks.sign(template);
    const answers = [];
    const answer = (who, kind, more = []) => answers.push({ who, event: who.sign({ kind, tags: [["e", job.id], ["p", dice.in(9) ? other.pubkey : asks.pubkey], ...more], created_at: now - dice.below(500), content: `of ${n}` }) });
    for (let m = dice.below(6); m > 0; m--) {
      const who = dice.in(4) ? somebody() : dice.one(asked.length ? asked : rest);
      for (let k = dice.below(5); k > 0; k--) answer(who, 7000, [["status", dice.one(["processing", "payment-required", "error"])]]);
      if (!dice.in(4)) answer(who, 6050, [...(encrypted && dice.in(3) ? [["encrypted"]] : [])]);
    }
    answers.splice(dice.in(3) ? dice.below(answers.length + 1) : 0, 0, { who: asks, event: job });
    events.push(...answers);
    if (dice.in(4)) add(asks, 5, [["e", job.id]]);
    for (const { who, event } of answers) {
      if (dice.in(10)) add(who, 5, [["e", event.id]]);
      if (dice.in(12)) add(customer, 1985, [["L", "quality"], ["l", "good", "quality"], ["e", event.id], ["p", who.pubkey]]);
    }
  }
  for (const { who, event } of [...events]) {
    if (event.kind === 5 || !dice.in(12)) continue;
    if (event.kind === 30023) add(who, 5, [["a", `30023:${who.pubkey}:${event.tags[0][1]}`]]);
    else add(dice.in(4) ? somebody() : who, 5, [["e", event.id]]);
  }
  // Who is addressed is rid of a wrap, and who vanishes of all; what he says afterwards stays.
  const wrapped = events.find(({ event }) => event.kind === 1059).event;
  add(keys.find(({ pubkey }) => pubkey === wrapped.tags[0][1]), 5, [["e", wrapped.id]]);
  const gone = keys.at(-1);
  events.splice(events.length >> 1, 0, { who: gone, event: gone.sign({ kind: 62, tags: [["relay", "ALL_RELAYS"]], created_at: now - 100 }) });
  add(gone, 1, [["t", "back"]], { created_at: now - 50 });
  return events;
}

/** Sends what must come from its author on a connection that has proven the key; what each OK says, but for ids. */
async function publishAll(relay, events) {
  const agents = new Map();
  const said = [];
  for (const { who, event } of events) {
    if (!agents.has(who)) agents.set(who, await rawAgent(relay, who));
    const [, , accepted, reason] = await publish(agents.get(who), event);
    said.push(`${event.kind} ${accepted} ${reason}`);
  }
  agents.forEach((one) => one.close());
  return said;
}

/** Ids of what each filter finds for each of `viewers`, and how many it counts. */
async function answers(relay, viewers, filters) {
  const found = [];
  for (const who of viewers) {
    const one = who ? await rawAgent(relay, who) : await client(relay);
    for (const filter of filters) {
      const ids = [];
      one.send(["REQ", "q", filter]);
      for (;;) {
        const frame = await one.next();
        if (frame[0] === "EVENT") ids.push(frame[2].id);
        else if (frame[0] === "EOSE" || frame[0] === "CLOSED") {
          ids.push(frame.join(" "));
          break;
        }
      }
      one.send(["CLOSE", "q"]);
      one.send(["COUNT", "n", filter]);
      const count = await one.next();
      found.push({ viewer: who?.pubkey ?? "nobody", filter, ids, count });
    }
    one.close();
  }
  return found;
}

function battery(events, keys) {
  const jobs = events.filter(({ event }) => event.kind === 5050).map(({ event }) => event.id);
  const kinds = [[0], [1], [4], [5], [62], [1059], [1985], [5050], [6050], [7000], [10002], [30023], [31990], [6050, 7000]];
  return [
    { limit: 5000 },
    { until: seconds() - DAY },
    ...kinds.map((kinds) => ({ kinds })),
    ...keys.flatMap(({ pubkey }) => [{ authors: [pubkey] }, { "#p": [pubkey] }]),
    ...["0", "1", "2", "3", "back"].map((t) => ({ "#t": [t] })),
    ...jobs.map((id) => ({ "#e": [id] })),
    { ids: events.slice(0, 200).map(({ event }) => event.id) },
    { "#d": ["a", "b", "long".repeat(50)] },
  ];
}

const seed = Number(process.env.NEXUS_SEED ?? Math.floor(Math.random() * 2 ** 32));

test(`export and import make a relay with the same answers and the same deletions (NEXUS_SEED=${seed})`, { timeout: 240_000 }, async (t) => {
  const [here, there] = [folder(t), folder(t)];
  const dice = chance(seed);
  const keys = Array.from({ length: 7 }, () => author());
  const begun = Date.now();
  const events = script(dice, keys);
  const first = await open({ persist: here, vars: OLD });
  await publishAll(first, events);
  const exported = nexus(["export"], { env: { STORAGE_PATH: join(here, "nexus.sqlite") } });
  assert.equal(exported.code, 0, exported.err);
  assert.match(exported.err, /^\d+ events, [1-9]\d* deletions, [1-9]\d* jobs$/m);
  const file = join(there, "events.jsonl");
  writeFileSync(file, exported.out);
  // What expires between the two is not imported; what is known of its job is.
  await sleep(Math.max(0, begun + 4000 - Date.now()));
  const imported = nexus(["import", file], { env: { STORAGE_PATH: join(there, "nexus.sqlite"), CREATED_AT_LOWER_LIMIT: "60", MIN_POW_DIFFICULTY: "20", MAX_EVENT_TAGS: "1" } });
  assert.equal(imported.code, 0, imported.err);
  assert.doesNotMatch(imported.err.replaceAll(/^line \d+: invalid: the event has expired, .*\n/gm, ""), /^line/m);

  const second = await open({ persist: there, vars: OLD });
  const filters = battery(events, keys);
  const [was, is] = [await answers(first, [null, ...keys], filters), await answers(second, [null, ...keys], filters)];
  for (const [at, answer] of was.entries()) assert.deepEqual(is[at], answer);
  const [said, says] = [await publishAll(first, events), await publishAll(second, events)];
  assert.deepEqual(says, said);
  assert.ok(said.some((text) => text.includes("deleted")), said.join("\n"));
  await first.stop();
  await second.stop();
});
