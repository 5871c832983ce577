// NIP-11: the information document, and that what it says holds.
import { expect, now, reasoned, same, sameEvents, skip } from "./context.mjs";

export const nip = 11;

const ACCEPT = { Accept: "application/nostr+json" };
const CORS = ["access-control-allow-origin", "access-control-allow-headers", "access-control-allow-methods"];

/** A limit that is advertised, or a skip. */
function limit({ limits }, key) {
  const value = limits[key];
  if (value === undefined) throw skip(`${key} is not advertised`);
  return value;
}

/** Subscribes to live events alone; gives EOSE or CLOSED. */
async function subscribe(client, id, filter = { limit: 0 }) {
  client.send(["REQ", id, filter]);
  return client.take(([verb, of]) => (verb === "EOSE" || verb === "CLOSED") && of === id, "answer to REQ");
}

/** An event at the limit is taken, one over it refused. */
async function bounded({ author, connect, publish, refuse, read }, at, over, what) {
  const who = author();
  const client = await connect(who);
  const fits = who.sign(at(who));
  const answer = await publish(client, fits);
  expect(answer[2] === true, `${what} at the limit was refused: ${answer[3]}`);
  await refuse(client, who.sign(over(who)), [], `${what} over the limit`);
  sameEvents(await read(client, { authors: [who.pubkey] }), [fits], "stored");
}

const createdAt = (key, sign) => async (context) => {
  const seconds = limit(context, key);
  // The NIP does not say so, but all relays mean seconds before and after now.
  if (seconds > now()) throw skip(`${key} of ${seconds} s is no limit`);
  const near = Math.min(60, Math.floor(seconds / 2));
  const away = (distance) => () => ({ created_at: now() + sign * distance });
  await bounded(context, away(seconds - near), away(seconds + 60), "created_at");
};

/** A REQ of exactly so many bytes, with characters of two bytes among them. */
function padded(id, bytes) {
  const [head, tail] = [`["REQ","${id}",{"limit":0,"#t":["${"ü".repeat(100)}"]}`, "]"];
  return head + " ".repeat(bytes - Buffer.byteLength(head) - tail.length) + tail;
}

export const checks = [
  {
    name: "the document is served as JSON at the relay's own URL",
    async run({ http }) {
      const answer = await fetch(http, { headers: ACCEPT });
      expect(answer.status === 200, `status ${answer.status}`);
      expect(/json/.test(answer.headers.get("content-type") ?? ""), `content-type ${answer.headers.get("content-type")}`);
      const document = await answer.json();
      expect(typeof document === "object" && !Array.isArray(document), "not a JSON object");
      expect(Array.isArray(document.supported_nips) && document.supported_nips.includes(1), "supported_nips does not have 1");
    },
  },
  {
    name: "CORS headers with the document and with a preflight",
    async run({ http }) {
      const Origin = "https://client.example";
      const preflight = { Origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept" };
      const answers = {
        document: await fetch(http, { headers: { ...ACCEPT, Origin } }),
        preflight: await fetch(http, { method: "OPTIONS", headers: preflight }),
      };
      for (const [what, answer] of Object.entries(answers)) {
        expect(answer.ok, `${what}: status ${answer.status}`);
        for (const name of CORS) expect(answer.headers.get(name), `${what}: no ${name}`);
        expect(["*", Origin].includes(answer.headers.get(CORS[0])), `${what}: origin ${answer.headers.get(CORS[0])}`);
      }
    },
  },
  {
    name: "fields have the form the NIP gives them",
    async run({ document }) {
      const text = (value) => typeof value === "string";
      const url = (value) => text(value) && URL.canParse(value);
      const key = (value) => /^[0-9a-f]{64}$/.test(value);
      const nips = (value) => Array.isArray(value) && value.every(Number.isInteger) && new Set(value).size === value.length;
      const forms = {
        name: (value) => text(value) && [...value].length < 30,
        description: text, banner: url, icon: url, pubkey: key, self: key, contact: text,
        supported_nips: nips, software: url, version: text, terms_of_service: text,
      };
      expect(Object.keys(document).length > 0, "no document");
      for (const [field, fits] of Object.entries(forms)) {
        if (field in document) expect(fits(document[field]), `${field}: ${JSON.stringify(document[field])}`);
      }
      for (const [field, value] of Object.entries(document.limitation ?? {})) {
        if (/_required$|^restricted_writes$/.test(field)) expect(typeof value === "boolean", `limitation.${field}: ${value}`);
        else if (/^(max|min|default|created_at)_/.test(field)) expect(Number.isInteger(value) && value >= 0, `limitation.${field}: ${value}`);
      }
    },
  },
  {
    name: "auth_required is as advertised",
    async run({ limits, connectBare, sign }) {
      const client = await connectBare();
      const answer = await subscribe(client, "bare", { kinds: [1], limit: 1 });
      if (!limits.auth_required) return same(answer[0], "EOSE", `REQ without AUTH (${answer[2] ?? ""})`);
      same(answer[0], "CLOSED", "REQ without AUTH");
      reasoned(answer, ["auth-required"], "REQ without AUTH");
      const event = sign({});
      client.send(["EVENT", event]);
      const ok = await client.take(([verb, id]) => verb === "OK" && id === event.id, "OK");
      same(ok[2], false, "EVENT without AUTH");
      reasoned(ok, ["auth-required"], "EVENT without AUTH");
    },
  },
  {
    name: "max_subid_length",
    async run(context) {
      const longest = limit(context, "max_subid_length");
      const client = await context.connect();
      same((await subscribe(client, "x".repeat(longest)))[0], "EOSE", `an id of ${longest}`);
      const over = await subscribe(client, "x".repeat(longest + 1));
      same(over[0], "CLOSED", `an id of ${longest + 1}`);
      reasoned(over, [], "CLOSED");
    },
  },
  {
    name: "max_subscriptions",
    async run(context) {
      const most = limit(context, "max_subscriptions");
      if (most > 2000) throw skip(`${most} are too many to open`);
      const client = await context.connect();
      for (let n = 0; n < most; n++) same((await subscribe(client, `sub ${n}`))[0], "EOSE", `subscription ${n + 1} of ${most}`);
      const over = await subscribe(client, "one more");
      same(over[0], "CLOSED", `subscription ${most + 1}`);
      reasoned(over, [], "CLOSED");
      same((await subscribe(client, "sub 0"))[0], "EOSE", "a REQ under an open id");
      client.send(["CLOSE", "sub 1"]);
      if (most > 1) same((await subscribe(client, "one more"))[0], "EOSE", "a subscription after a CLOSE");
    },
  },
  {
    name: "max_event_tags",
    async run(context) {
      const most = limit(context, "max_event_tags");
      // A nonce that the relay asks for is a tag, too.
      const room = most - (context.limits.min_pow_difficulty > 0 ? 1 : 0);
      const tags = (count) => Array.from({ length: count }, () => ["n"]);
      await bounded(context, () => ({ tags: tags(room) }), () => ({ tags: tags(room + 1) }), "an event's tags");
    },
  },
  {
    name: "max_content_length counts characters, not bytes",
    async run(context) {
      const most = limit(context, "max_content_length");
      const bytes = context.limits.max_message_length ?? Infinity;
      // Characters of four bytes, two UTF-16 units each, as many as the message has room for.
      const room = Math.min(1000, most, Math.floor((bytes - most - 2000) / 3));
      if (room < 1) throw skip(`max_message_length of ${bytes} is reached first`);
      const content = "🙂".repeat(room) + "x".repeat(most - room);
      await bounded(context, () => ({ content }), () => ({ content: `${content}x` }), `content of ${most} characters`);
    },
  },
  { name: "created_at_lower_limit", run: createdAt("created_at_lower_limit", -1) },
  { name: "created_at_upper_limit", run: createdAt("created_at_upper_limit", 1) },
  {
    name: "max_message_length counts bytes",
    async run(context) {
      const most = limit(context, "max_message_length");
      const client = await context.connect();
      client.send(padded("fits", most));
      const fits = await client.take(([verb, id]) => id === "fits" || verb === "NOTICE", "answer");
      same(fits.slice(0, 2), ["EOSE", "fits"], `a message of ${most} bytes`);
      client.send(padded("over", most + 1));
      const over = await client.take(([verb, id]) => id === "over" || verb === "NOTICE", "refusal").catch((error) => {
        if (client.closed) return ["closed"]; // as good a refusal as any
        throw error;
      });
      expect(over[0] !== "EOSE", `a message of ${most + 1} bytes was acted upon`);
    },
  },
  {
    name: "max_limit bounds every filter",
    async run(context) {
      const most = limit(context, "max_limit");
      const { who, events } = await context.flood();
      const client = await context.connect();
      for (const asked of [most + 1, most * 10]) {
        const got = await context.read(client, { authors: [who.pubkey], limit: asked });
        sameEvents(got, events.slice(0, most), `limit ${asked}`);
      }
    },
  },
  {
    name: "default_limit bounds a filter without a limit",
    async run(context) {
      const most = limit(context, "default_limit");
      const { who, events } = await context.flood();
      if (most >= events.length) throw skip(`default_limit of ${most} is over max_limit`);
      const got = await context.read(await context.connect(), { authors: [who.pubkey] });
      sameEvents(got, events.slice(0, most), "without a limit");
    },
  },
];
