// Who signs for the owner's page: a provider as an extension injects it (NIP-07), and a signer elsewhere (NIP-46). Both are
// made of nostr-tools and have real keys.
import { buildSync } from "esbuild";
import { decrypt, encrypt, getConversationKey } from "nostr-tools/nip44";
import { agent, author } from "../support/relay.mjs";

const CODE = `
  import { finalizeEvent, getPublicKey } from "nostr-tools/pure";
  const secret = Uint8Array.from(SECRET.match(/../g), (byte) => parseInt(byte, 16));
  globalThis.nostr = {
    getPublicKey: async () => getPublicKey(secret),
    signEvent: async ({ kind, created_at, tags, content }) => finalizeEvent({ kind, created_at, tags, content }, secret),
  };
`;

/** The script of an extension that has the key of `who`. */
export function provider(who) {
  const made = buildSync({
    stdin: { contents: CODE, resolveDir: process.cwd() },
    bundle: true,
    write: false,
    format: "iife",
    define: { SECRET: JSON.stringify(Buffer.from(who.secret).toString("hex")) },
  });
  return { content: made.outputFiles[0].text };
}

/** A signer of `who` that listens at the relay, under a key of its own; `asked` are the methods it was asked for. */
export async function bunker(relay, who) {
  const own = await agent(relay, author());
  const [asked, answers] = [[], []];
  let token = crypto.randomUUID();
  const results = {
    connect: ([, given]) => (given === token ? "ack" : null),
    get_public_key: () => who.pubkey,
    sign_event: ([template]) => JSON.stringify(who.sign(JSON.parse(template))),
    ping: () => "pong",
  };
  const answer = async (to, said) => {
    const content = encrypt(JSON.stringify(said), getConversationKey(own.secret, to));
    await own.publish({ kind: 24133, tags: [["p", to]], content });
  };
  own.relay.subscribe([{ kinds: [24133], "#p": [own.pubkey], limit: 0 }], {
    onevent: (event) => {
      const { id, method, params } = JSON.parse(decrypt(event.content, getConversationKey(own.secret, event.pubkey)));
      asked.push(method);
      const result = results[method]?.(params) ?? null;
      answers.push(answer(event.pubkey, result === null ? { id, result: "", error: "no" } : { id, result }));
    },
  });
  return {
    asked,
    /** The address it shows. */
    address: `bunker://${own.pubkey}?relay=${encodeURIComponent(relay.ws)}&secret=${token}`,
    /** Comes to the client that a link names. */
    follow: async (link) => {
      const url = new URL(link);
      const to = url.host || url.pathname.replace(/^\/\//, "");
      await answer(to, { id: "first", result: url.searchParams.get("secret") });
    },
    close: async () => {
      await Promise.all(answers);
      own.relay.close();
    },
  };
}
