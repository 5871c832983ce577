// Who signs: an extension of the browser (NIP-07), or a signer elsewhere (NIP-46), whose code is loaded when it is wanted.

/** Milliseconds in which an extension has to show itself: some come after the page. */
const SHOWS = 1500;

/** What went wrong, in words; libraries reject with texts, too. */
export const wordsOf = (error) => error?.message || String(error);

/** The extension's key. */
export async function extension() {
  for (const end = Date.now() + SHOWS; !globalThis.nostr && Date.now() < end; ) await new Promise((resolve) => setTimeout(resolve, 50));
  const { nostr } = globalThis;
  if (!nostr) throw new Error("This browser has no extension that signs (NIP-07). Install one and load this page again, or use a signer elsewhere.");
  const refused = (error) => {
    throw new Error(`The extension has not signed (${wordsOf(error)}). Unlock it, and consent when it asks.`);
  };
  return {
    pubkey: await Promise.resolve(nostr.getPublicKey()).catch(refused),
    sign: (template) => Promise.resolve(nostr.signEvent(template)).catch(refused),
    close() {},
  };
}

const bunker = () => import("/bunker.js");

/** The key behind the address of a signer elsewhere. */
export async function remote(address) {
  if (/nsec1|ncryptsec1/.test(address) || /^[0-9a-f]{64}$/i.test(address.trim())) {
    throw new Error("That looks like a secret key, which belongs into no page. Give the address of a signer that has it: bunker://…");
  }
  return (await bunker()).open(address.trim());
}

/** Waits for a signer elsewhere to come to a relay; `show` is given the link that says where. */
export const invited = async (relay, name, show, signal) => (await bunker()).invite(relay, name, show, signal);
