// Calls of the management API (NIP-86), each signed by whoever has the key (NIP-98). What goes wrong is told with its cause
// and what helps.
import { npubEncode } from "nostr-tools/nip19";
import { span } from "./format.js";
import { readDocument } from "./reads.js";

/** Longer than this is no answer. */
const PATIENCE = 15_000; // ms
/** Seconds that a signed request may be old or early. */
const WINDOW = 60;

const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = async (text) => hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Calls methods as `signer`, one at a time: each may ask somebody to consent. */
export function caller(signer) {
  let last = Promise.resolve();
  return (method, ...params) => {
    const answer = last.then(() => call(signer, method, params));
    last = answer.catch(() => {});
    return answer;
  };
}

async function call(signer, method, params) {
  const body = JSON.stringify({ method, params });
  const tags = [
    ["u", `${location.origin}/`],
    ["method", "POST"],
    ["payload", await sha256(body)],
    ["nonce", crypto.randomUUID()], // two same calls of one second would be one event
  ];
  const template = { kind: 27235, created_at: Math.floor(Date.now() / 1000), tags, content: "" };
  const event = await signer.sign(template);
  if (event.pubkey !== signer.pubkey) throw new Error("The signer has signed with another key than the one that signed in. Sign out, and in again with that one.");
  const headers = { "Content-Type": "application/nostr+json+rpc", Authorization: `Nostr ${base64(JSON.stringify(event))}` };
  const answer = await fetch("/", { method: "POST", headers, body, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
  if (answer === null) throw new Error("The relay cannot be reached. Look whether it runs, then try again.");
  const said = await answer.json().catch(() => ({ error: `HTTP ${answer.status}` }));
  if (said.error === undefined) return said.result;
  throw new Error(await explained(answer, said.error, signer));
}

/** Why a call was refused, and what helps. */
async function explained(answer, error, signer) {
  if (answer.status === 401) {
    const early = skew(answer);
    if (Math.abs(early) > WINDOW || /clock/.test(error)) {
      const by = early === 0 ? "" : ` by ${span(Math.abs(early))}: it is ${early > 0 ? "fast" : "slow"}`;
      return `The clock of this device differs from the relay's${by}. Set it, then try again.`;
    }
    if (/RELAY_URL/.test(error)) return `The relay does not know the address ${location.host}. Open this page at an address that RELAY_URL names, or add this one there.`;
  }
  if (answer.status === 403) return refused(signer);
  return `The relay says: ${error}`;
}

/** Seconds by which this device is early, as far as the answer tells. */
function skew(answer) {
  const theirs = Date.parse(answer.headers.get("Date") ?? "");
  return Number.isNaN(theirs) ? 0 : Math.round((Date.now() - theirs) / 1000);
}

async function refused(signer) {
  const { pubkey } = await readDocument().catch(() => ({}));
  if (!pubkey) return "This relay has no owner, so nobody rules here. Set RELAY_PUBKEY to your public key, and start or deploy it again.";
  if (pubkey === signer.pubkey) return "This method is not for the owner's key.";
  return `You are ${npubEncode(signer.pubkey)}, who may not do this. The owner is ${npubEncode(pubkey)} (RELAY_PUBKEY): sign in with that key, or have the owner assign you the method.`;
}
