// A small market that is sent to a relay, and what is asked of it afterwards: each answer as the texts of all its
// frames.
import { createHash } from "node:crypto";
import { author, rawAgent, seconds } from "../support/relay.mjs";

/** Settings under which what is stored stays, and may be old. */
export const VARS = { RETAIN_REQUESTS: 0, RETAIN_FEEDBACK: 0, RETAIN_RESULTS: 0, CREATED_AT_LOWER_LIMIT: 100 * 365 * 86_400 };
const YEAR_2100 = 4_102_444_800;

const known = (name) => author(createHash("sha256").update(`upgrade ${name}`).digest());
export const [customer, provider, other, leaver, guest] = ["customer", "provider", "other", "leaver", "guest"].map(known);

/** Publishes an event as its author; what the OK says. */
export async function publish(relay, who, event) {
  const client = await rawAgent(relay, who);
  client.send(["EVENT", event]);
  const ok = await client.next();
  client.close();
  return ok.slice(2);
}

/** Sends the market; the events that tell it apart. */
export async function fill(relay) {
  const now = seconds();
  const said = [];
  const say = (who, kind, tags, content = "", ago = 60) => {
    const event = who.sign({ kind, tags, content, created_at: now - ago });
    said.push([who, event]);
    return event;
  };
  const answer = (kind, job, ...more) => say(provider, kind, [["e", job.id], ["p", customer.pubkey], ...more], "", 30);
  say(provider, 31990, [["d", "h"], ["k", "5050"]], '{"name":"old"}', 200);
  say(provider, 31990, [["d", "h"], ["k", "5050"], ["k", "5100"]], '{"name":"new"}', 100);
  say(customer, 5050, [["i", "open", "text"], ["t", "a"]], "nobody answers");
  const job = say(customer, 5050, [["i", "x", "text"], ["bid", "1000"]], '\u0001\0 \u2028 ü 🙂 "\\; it\'s -- ');
  const secret = say(customer, 5050, [["p", provider.pubkey], ["encrypted"]], "sealed");
  const cancelled = say(customer, 5100, [], "never mind");
  answer(7000, job, ["status", "processing"]);
  answer(6050, job, ["amount", "900"]);
  answer(6050, secret, ["encrypted"]);
  const deleted = say(other, 1, [["t", "gone"]], "to be deleted");
  say(other, 0, [], '{"name":"other"}');
  say(other, 30023, [["d", "long"], ["e", job.id]], "text");
  say(other, 1059, [["p", customer.pubkey]], "wrapped");
  say(other, 1985, [["L", "nexus"], ["l", "good", "nexus"], ["p", provider.pubkey]]);
  say(other, 1, [["expiration", `${YEAR_2100}`], ["-"]], "protected");
  say(other, 5, [["e", deleted.id]], "", 10);
  say(customer, 5, [["e", cancelled.id]], "", 10);
  say(leaver, 1, [], "of one who leaves");
  say(leaver, 62, [["relay", "ALL_RELAYS"]], "", 5);
  for (let n = 0; n < 40; n++) say(other, 1, [["t", n % 2 ? "a" : "b"]], `${n}`, 1000 - n);
  for (const [who, event] of said) {
    const [accepted, reason] = await publish(relay, who, event);
    if (!accepted || reason) throw new Error(`${JSON.stringify(event)}: ${reason}`);
  }
  return { job, deleted };
}

/** What is told of a handler whatever the hour is. */
const lasting = ({ last_seen, online, score, ...told }) => told;

/** What a relay that has the market answers to everybody in it, and what it tells of it over HTTP. */
export async function answers(relay, { job, deleted }) {
  const filters = [
    {},
    { kinds: [1], limit: 7 },
    { kinds: [5050, 5100, 6050, 7000] },
    { authors: [customer.pubkey] },
    { ids: [job.id, deleted.id] },
    { "#e": [job.id] },
    { "#t": ["a", "gone"], until: job.created_at - 920 },
    { "#p": [customer.pubkey, provider.pubkey] },
    { kinds: [31990], "#k": ["5050"] },
    { kinds: [30023], "#d": ["long"], authors: [other.pubkey] },
    { authors: [leaver.pubkey] },
  ];
  const all = {};
  for (const [name, who] of Object.entries({ customer, provider, other, guest })) {
    const client = await rawAgent(relay, who);
    const texts = [];
    client.socket.on("message", (data) => texts.push(`${data}`));
    for (const [n, filter] of filters.entries()) {
      for (const verb of ["REQ", "COUNT"]) {
        client.send([verb, `${n}`, filter]);
        while ((await client.next())[0] === "EVENT");
        all[`${name}: ${verb} ${n}`] = texts.splice(0);
        if (verb === "REQ") client.send(["CLOSE", `${n}`]);
      }
    }
    client.close();
  }
  for (const kind of [5050, 5100]) {
    const { handlers } = await (await fetch(`${relay.http}/api/handlers?k=${kind}`)).json();
    all[`handlers of ${kind}`] = handlers.map(lasting);
  }
  const { jobs, events } = await relay.stats();
  all.counts = { stored: events.stored, states: jobs.states, by_kind: jobs.by_kind, time_to_result: jobs.time_to_result };
  return all;
}

/** What must go on afterwards; throws if it does not. `assert` is node's. */
export async function goOn(relay, { job, deleted }, assert) {
  assert.match((await publish(relay, other, deleted))[1], /^blocked: /);
  const again = provider.sign({ kind: 6050, tags: [["e", job.id], ["p", customer.pubkey], ["x", "y"]] });
  assert.match((await publish(relay, provider, again))[1], /^duplicate: /);
  const next = customer.sign({ kind: 5050, tags: [["i", "y", "text"]], content: "after the upgrade" });
  const result = provider.sign({ kind: 6050, tags: [["e", next.id], ["p", customer.pubkey]] });
  for (const [who, event] of [[customer, next], [provider, result]]) assert.deepEqual(await publish(relay, who, event), [true, ""]);
  const client = await rawAgent(relay, customer);
  client.send(["REQ", "next", { "#e": [next.id] }]);
  assert.deepEqual(await client.next(), ["EVENT", "next", result]);
  client.close();
}
