// NIP-86: the management API, as far as who is not the relay's owner can see it.
import { expect, now, sha256 } from "./context.mjs";

export const nip = 86;

const TYPE = "application/nostr+json+rpc";
const BODY = JSON.stringify({ method: "banpubkey", params: ["ab".repeat(32)] });

/** Calls with an event in the header, or with none. */
async function call({ http }, event, body = BODY) {
  const header = event && { Authorization: `Nostr ${Buffer.from(JSON.stringify(event)).toString("base64")}` };
  const answer = await fetch(http, { method: "POST", headers: { "Content-Type": TYPE, ...header }, body });
  let json;
  try {
    json = JSON.parse(await answer.text());
  } catch {
    // It is no JSON.
  }
  return { status: answer.status, json };
}

const proof = ({ relayUrl }, who, changes = {}) => {
  const tags = { u: relayUrl, method: "POST", payload: sha256(BODY), ...changes };
  return who.sign({ kind: 27235, created_at: now(), tags: Object.entries(tags).filter(([, value]) => value !== undefined) });
};

/** It is refused, and why is said. */
function refused({ status, json }, what) {
  expect(status === 401 || status === 403, `${what}: status ${status}`);
  expect(json?.result === undefined && typeof json?.error === "string" && json.error.length > 0, `${what}: ${JSON.stringify(json)}`);
}

export const checks = [
  {
    name: "who has not signed is refused",
    run: async (context) => refused(await call(context), "no signature"),
  },
  {
    name: "a signature that is not as NIP-98 has it is refused",
    async run(context) {
      const who = context.author();
      for (const changes of [{ u: "https://other.example/" }, { method: "GET" }, { payload: undefined }, { payload: sha256("{}") }]) {
        refused(await call(context, proof(context, who, changes)), JSON.stringify(changes));
      }
      refused(await call(context, { ...proof(context, who), content: "forged" }), "forged");
    },
  },
  {
    name: "a stranger is refused, and changes nothing",
    async run(context) {
      const [stranger, other] = [context.author(), context.author()];
      const body = JSON.stringify({ method: "banpubkey", params: [other.pubkey] });
      refused(await call(context, proof(context, stranger, { payload: sha256(body) }), body), "a stranger");
      const client = await context.connect(other);
      const answer = await context.publish(client, other.sign({ content: "still here" }));
      expect(answer[2] === true, `the key is banned: ${answer[3]}`);
    },
  },
  {
    name: "a browser elsewhere may call",
    async run({ http }) {
      const headers = { Origin: "https://client.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type" };
      const answer = await fetch(http, { method: "OPTIONS", headers });
      expect(answer.ok, `preflight: status ${answer.status}`);
      const list = (name) => (answer.headers.get(name) ?? "").toLowerCase().split(/ *, */);
      // A star does not stand for Authorization.
      for (const name of ["authorization", "content-type"]) expect(list("access-control-allow-headers").includes(name), `preflight: no ${name}`);
      expect(list("access-control-allow-methods").some((method) => method === "post" || method === "*"), "preflight: no POST");
    },
  },
];
