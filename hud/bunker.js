// A signer elsewhere (NIP-46), over a relay that both reach. The key that talks to it is made here and thrown away.
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import { BunkerSigner, createNostrConnectURI, parseBunkerInput } from "nostr-tools/nip46";
import { SimplePool } from "nostr-tools/pool";

/** Milliseconds: in which a relay asks for a proof if it will, in which a signer answers, and in which it is connected. */
const ASKS = 700;
const ANSWERS = 60_000;
const COMES = 300_000;
/** What it is asked to be let do. */
const PERMS = ["sign_event:27235"];

const CONSENT = "Look whether it waits for your consent, and whether its relay can be reached.";

function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(what)), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A pool that is connected to these relays and has proven the key where one asks for it. */
async function connected(relays, secret) {
  const pool = new SimplePool();
  const reach = async (url) => {
    const relay = await pool.ensureRelay(url);
    for (const end = Date.now() + ASKS; !relay.challenge && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 20));
    if (relay.challenge) await relay.auth(async (template) => finalizeEvent(template, secret)).catch(() => {});
  };
  const reached = await Promise.allSettled(relays.map(reach));
  if (reached.every(({ status }) => status === "rejected")) {
    throw new Error(`The signer's relay cannot be reached (${relays.join(", ")}). Look whether the address is complete, and new.`);
  }
  return pool;
}

/** What does as the rest of the page has signers do. */
async function used(signer, pool) {
  const failed = (error) => {
    const silent = error instanceof AggregateError;
    throw new Error(silent ? "The signer does not listen at its relay. Open it, then try again." : `The signer has not signed (${error?.message ?? error}).`);
  };
  const asked = (promise) => within(ANSWERS, promise, `no answer in ${ANSWERS / 1000} s. ${CONSENT}`).catch(failed);
  return {
    pubkey: await asked(signer.getPublicKey()),
    sign: (template) => asked(signer.signEvent(template)),
    close: async () => {
      await signer.close();
      // The library says so to the relays a moment later.
      setTimeout(() => pool.destroy(), 100);
    },
  };
}

/** Where the signer asks its owner to consent. */
const consents = { onauth: (url) => /^https:/.test(url) && globalThis.open(url, "_blank", "noopener") };

export async function open(address) {
  const pointer = await parseBunkerInput(address);
  if (!pointer?.relays.length) throw new Error("That is no address of a signer. It has the form bunker://KEY?relay=wss://…&secret=…, and the signer shows it.");
  const secret = generateSecretKey();
  const pool = await connected(pointer.relays, secret);
  const signer = BunkerSigner.fromBunker(secret, pointer, { pool, ...consents });
  await within(ANSWERS, signer.connect({ name: document.title }), `The signer has not answered in ${ANSWERS / 1000} s. ${CONSENT}`).catch((error) => {
    pool.destroy();
    throw error instanceof AggregateError ? new Error("The signer does not listen at its relay. Open it, then try again.") : error;
  });
  return used(signer, pool);
}

export async function invite(relay, name, show, signal) {
  const secret = generateSecretKey();
  const pool = await connected([relay], secret);
  const token = crypto.randomUUID();
  const link = createNostrConnectURI({ clientPubkey: getPublicKey(secret), relays: [relay], secret: token, perms: PERMS, name, url: location.origin });
  show(link);
  const signer = await BunkerSigner.fromURI(secret, link, { pool, skipSwitchRelays: true, ...consents }, AbortSignal.any([signal, AbortSignal.timeout(COMES)]));
  return used(signer, pool);
}
