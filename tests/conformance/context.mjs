// What the checks share: sockets, keys, questions and answers, and how a check fails or is skipped.
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import WebSocket from "ws";

/** How long a relay may take to answer anything, in milliseconds. */
const PATIENCE = 10_000;
/** EVENT frames that wait for their OK at a time. */
const PIPELINE = 100;
/** A reason as NIP-01 wants it: a single word, a colon, something to read. */
export const REASON = /^[a-z][a-z-]*: ?\S/;

export const now = () => Math.floor(Date.now() / 1000);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const sha256 = (text) => createHash("sha256").update(text).digest("hex");
/** A value nobody has used before; 64 hex digits, so that it can stand for an id or a key. */
export const unique = () => sha256(generateSecretKey());
/** NIP-01's order: newest first, ties by the lowest id. */
export const newestFirst = (a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1);

class Skip extends Error {}
/** `throw skip("why")` for what cannot be tested at this relay. */
export const skip = (why) => new Skip(why);
export const isSkip = (error) => error instanceof Skip;

/** Short enough for a table: ids and keys by their beginning, the rest clipped. */
function brief(value) {
  const text = (JSON.stringify(value) ?? "nothing").replace(/([0-9a-f]{8})[0-9a-f]{56,}/g, "$1…");
  return text.length > 150 ? `${text.slice(0, 150)}…` : text;
}

export function expect(holds, what) {
  if (!holds) throw new Error(what);
}

export function same(actual, expected, what) {
  expect(isDeepStrictEqual(actual, expected), `${what}: got ${brief(actual)}, not ${brief(expected)}`);
}

/** The same events, each once, in any order. */
export function sameEvents(actual, expected, what) {
  const [got, wanted] = [actual, expected].map((events) => events.map((event) => event.id).sort());
  expect(isDeepStrictEqual(got, wanted), `${what}: got ${got.length} events ${brief(got)}, not ${wanted.length} ${brief(wanted)}`);
}

/** A frame whose last element is a reason with one of the prefixes; any prefix when none is given. */
export function reasoned(frame, prefixes, what) {
  const reason = frame.at(-1);
  expect(typeof reason === "string" && REASON.test(reason), `${what}: reason without a prefix in ${brief(frame)}`);
  const fits = prefixes.length === 0 || prefixes.some((prefix) => reason.startsWith(`${prefix}:`));
  expect(fits, `${what}: ${brief(frame)} instead of ${prefixes.join(": or ")}:`);
}

/** Leading zero bits of an id (NIP-13). */
export function difficulty(id) {
  const zeros = /^0*/.exec(id)[0].length;
  return zeros * 4 + (zeros < id.length ? Math.clz32(parseInt(id[zeros], 16)) - 28 : 0);
}

/** A template with the nonce that makes `enough(difficulty)` true; `commit` is the target it names. */
export function mine(template, pubkey, enough, commit) {
  const { kind, created_at, tags, content } = template;
  for (let nonce = 0; ; nonce++) {
    const tried = [...tags, ["nonce", `${nonce}`, `${commit}`]];
    if (enough(difficulty(sha256(JSON.stringify([0, pubkey, created_at, kind, tried, content]))))) return { ...template, tags: tried };
  }
}

/** Somebody with a key, who does the work the relay asks for (NIP-13) before signing. */
function author(work, secret = generateSecretKey()) {
  const pubkey = getPublicKey(secret);
  return {
    pubkey,
    sign(template, { bits = work } = {}) {
      const full = { kind: 1, created_at: now(), tags: [], content: "", ...template };
      const worked = bits > 0 && full.kind !== 22242 ? mine(full, pubkey, (found) => found >= bits, bits) : full;
      // Through JSON, which leaves out the mark nostr-tools puts on what it has signed.
      return JSON.parse(JSON.stringify(finalizeEvent(worked, secret)));
    },
  };
}

/** A socket that keeps every frame until somebody takes it. */
async function open(url) {
  const socket = new WebSocket(url);
  const frames = [];
  const waiting = new Set();
  const gone = new Promise((resolve) => socket.on("close", resolve));
  const client = {
    closed: false,
    send: (message) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    close: () => (socket.close(), gone),
    /** Takes the frames that have come and match. */
    drain: (matches) => {
      const taken = frames.filter(matches);
      for (const frame of taken) frames.splice(frames.indexOf(frame), 1);
      return taken;
    },
    /** Takes the first frame that matches, waiting for it if need be. */
    take: (matches, what, ms = PATIENCE) =>
      new Promise((resolve, reject) => {
        const at = frames.findIndex(matches);
        if (at >= 0) return resolve(frames.splice(at, 1)[0]);
        const notices = () => frames.filter(([verb]) => verb === "NOTICE").map(([, text]) => `; NOTICE ${text}`).join("");
        const end = (why) => (waiting.delete(waiter), clearTimeout(timer), reject(new Error(`${why}${notices()}`)));
        const timer = setTimeout(() => end(`no ${what} within ${ms / 1000} s`), ms);
        const waiter = { matches, end, resolve: (frame) => (waiting.delete(waiter), clearTimeout(timer), resolve(frame)) };
        waiting.add(waiter);
        if (client.closed) end(`no ${what}: the relay closed the connection`);
      }),
  };
  socket.on("message", (data) => {
    const frame = JSON.parse(`${data}`);
    for (const waiter of waiting) if (waiter.matches(frame)) return waiter.resolve(frame);
    frames.push(frame);
  });
  socket.on("close", (code) => {
    client.closed = true;
    for (const waiter of waiting) waiter.end(`the relay closed the connection with ${code}`);
  });
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  return client;
}

/** The NIP-11 document, or an empty one. */
async function fetchDocument(http) {
  const answer = await fetch(http, { headers: { Accept: "application/nostr+json" } }).catch(() => null);
  return (await answer?.json().catch(() => null)) ?? {};
}

/** What is known of a relay for a whole run; `forCheck` gives what one check works with. */
export async function relayAt(url, relayUrl = url) {
  const http = url.replace(/^ws/, "http");
  const document = await fetchDocument(http);
  const limits = document.limitation ?? {};
  const advertises = (nip) => (document.supported_nips ?? []).includes(nip);
  const memo = new Map();
  /** "connect", "demand" or "never": when this relay sends its challenge (NIP-42 leaves it open). */
  let offer;
  const isAuth = ([verb]) => verb === "AUTH";

  function forCheck() {
    const clients = [];
    const connectBare = async () => {
      const client = await open(url);
      clients.push(client);
      return client;
    };

    /** The relay's challenge, or null if it has none to give. */
    const challenge = async (client) => {
      const within = (ms) => client.take(isAuth, "challenge", ms).then(([, text]) => text, () => null);
      if (offer !== "never" && offer !== "demand") {
        const text = await within(offer ? PATIENCE : 1500);
        if (text !== null) offer = "connect";
        if (text !== null || offer) return text;
      }
      if (offer === "never") return null;
      // Private messages are what a relay that asks on demand asks for.
      await request(client, { kinds: [4, 1059], "#p": [unique()], limit: 1 });
      const text = await within(500);
      offer = text === null ? "never" : "demand";
      return text;
    };

    const authEvent = (who, text, change = {}) => who.sign({ kind: 22242, tags: [["relay", relayUrl], ["challenge", text]], ...change });
    const authenticate = async (client, event) => {
      client.send(["AUTH", event]);
      return client.take(([verb, id]) => verb === "OK" && id === event.id, "OK for AUTH");
    };

    /** A client that has proven the keys given, or a new one, if the relay offers a challenge. */
    const connect = async (...whos) => {
      const client = await connectBare();
      const text = await challenge(client);
      if (text === null) return client;
      for (const who of whos.length > 0 ? whos : [newAuthor()]) {
        const answer = await authenticate(client, authEvent(who, text));
        expect(answer[2] === true, `AUTH refused: ${answer[3]}; is --relay-url right?`);
      }
      return client;
    };

    const newAuthor = (secret) => author(limits.min_pow_difficulty ?? 0, secret);

    /** Publishes one event; gives the OK frame. */
    const publish = async (client, event) => {
      client.send(["EVENT", event]);
      return client.take(([verb, id]) => verb === "OK" && `${id}`.toLowerCase() === event.id.toLowerCase(), `OK for kind ${event.kind}`);
    };
    const store = async (client, ...events) => {
      for (let from = 0; from < events.length; from += PIPELINE) {
        const answers = await Promise.all(events.slice(from, from + PIPELINE).map((event) => publish(client, event)));
        for (const answer of answers) expect(answer[2] === true, `event not accepted: ${brief(answer)}`);
      }
      return events.at(-1);
    };
    const refuse = async (client, event, prefixes, what) => {
      const answer = await publish(client, event);
      expect(answer[2] === false, `${what} was not refused: ${brief(answer)}`);
      reasoned(answer, prefixes, what);
    };

    const ask = async (verb, client, filters) => {
      const id = `${verb.toLowerCase()} ${unique().slice(0, 12)}`;
      client.send([verb, id, ...filters]);
      const ends = [verb === "REQ" ? "EOSE" : "COUNT", "CLOSED"];
      return client.take(([answer, of]) => ends.includes(answer) && of === id, `${ends.join(" or ")} for ${brief(filters)}`);
    };
    /** Stored events, with the frame that ended them: `eose` or `closed`. */
    const request = async (client, ...filters) => {
      const end = await ask("REQ", client, filters);
      const events = client.drain(([verb, of]) => verb === "EVENT" && of === end[1]).map(([, , event]) => event);
      if (end[0] === "CLOSED") return { events, closed: end };
      client.send(["CLOSE", end[1]]);
      return { events, eose: end };
    };
    const read = async (client, ...filters) => {
      const { events, closed } = await request(client, ...filters);
      expect(!closed, `REQ ${brief(filters)} refused: ${closed?.[2]}`);
      return events;
    };
    const mustClose = async (client, prefixes, ...filters) => {
      const { closed } = await request(client, ...filters);
      expect(closed, `REQ ${brief(filters)} got an EOSE, not a CLOSED`);
      reasoned(closed, prefixes, `REQ ${brief(filters)}`);
    };
    /** The frame that answers a COUNT: COUNT or CLOSED. */
    const count = (client, ...filters) => ask("COUNT", client, filters);
    const counted = async (client, ...filters) => {
      const answer = await count(client, ...filters);
      expect(answer[0] === "COUNT" && Number.isInteger(answer[2]?.count), `COUNT ${brief(filters)} answered ${brief(answer)}`);
      return answer[2].count;
    };

    /** Subscribes under an id; `upTo` waits for a live event and gives all that came since the last time. */
    const watch = async (client, filters, id = `watch ${unique().slice(0, 12)}`) => {
      client.send(["REQ", id, ...[filters].flat()]);
      const end = await client.take(([verb, of]) => (verb === "EOSE" || verb === "CLOSED") && of === id, `EOSE for ${brief(filters)}`);
      expect(end[0] === "EOSE", `REQ ${brief(filters)} refused: ${end[2]}`);
      const of = (frame) => frame[0] === "EVENT" && frame[1] === id;
      const stored = client.drain(of).map((frame) => frame[2]);
      const upTo = async (event) => {
        const last = await client.take((frame) => of(frame) && frame[2].id === event.id, `live event of kind ${event.kind}`);
        await sleep(150); // for one that should not come, to come
        return [...client.drain(of), last].map((frame) => frame[2]);
      };
      return { id, stored, upTo };
    };

    /** Waits until `holds()` does; relays may delete after they have answered. */
    const eventually = async (holds, what, ms = 5000) => {
      for (const end = Date.now() + ms; !(await holds()); await sleep(100)) expect(Date.now() < end, `${what} after ${ms / 1000} s`);
    };

    /** One author's events, a second apart and one more than a filter may return; made once a run. */
    const flood = () =>
      once("flood", async () => {
        if (!(limits.max_limit >= 1 && limits.max_limit <= 1000)) throw skip(`max_limit is ${limits.max_limit}; too many events to publish`);
        const who = newAuthor();
        const start = now() - 2 * limits.max_limit;
        const events = Array.from({ length: limits.max_limit + 1 }, (_, at) => who.sign({ created_at: start + at }));
        await store(await connect(who), ...events);
        return { who, events: events.reverse() };
      });
    const once = (name, work) => {
      if (!memo.has(name)) memo.set(name, work());
      return memo.get(name);
    };

    const end = () => clients.forEach((client) => client.close());
    return {
      url, relayUrl, http, document, limits, advertises, now, sleep, author: newAuthor, sign: (template, who = newAuthor()) => who.sign(template),
      connect, connectBare, challenge, authEvent, authenticate, publish, store, refuse, request, read, mustClose, count, counted, watch, eventually,
      flood, once, end,
    };
  }
  return { url, document, advertises, forCheck };
}
