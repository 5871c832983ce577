// One job over the relay's own protocol, with keys made for it: nostr-tools speaks, and every message
// that passes is told to `onMessage`. Knows nothing of the page.
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import { Relay } from "nostr-tools/relay";

export const JOB = 5050;
const RESULT = JOB + 1000;
const FEEDBACK = 7000;
const HANDSHAKE = 5000; // ms to wait for the challenge
/** How long a real provider may take. */
const PATIENCE = 60_000; // ms
/** What is sent removes itself. */
const KEEP = 3600; // s

const seconds = () => Math.floor(Date.now() / 1000);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A WebSocket that tells what passes: who, `in` or `out`, the message. */
function tapped(who, onMessage) {
  return class extends WebSocket {
    constructor(url) {
      super(url);
      this.addEventListener("message", ({ data }) => onMessage(who, "in", JSON.parse(data)));
    }
    send(text) {
      onMessage(who, "out", JSON.parse(text));
      super.send(text);
    }
  };
}

/** A new key, proven on the connection. */
async function join(relay) {
  const secret = generateSecretKey();
  relay.onnotice = () => {}; // it has been shown
  await relay.connect({ timeout: HANDSHAKE });
  for (const start = Date.now(); !relay.challenge; await sleep(5)) {
    if (Date.now() - start > HANDSHAKE) throw new Error("the relay sent no challenge");
  }
  await relay.auth(async (template) => finalizeEvent(template, secret));
  const lives = ["expiration", String(seconds() + KEEP)];
  return {
    pubkey: getPublicKey(secret),
    relay,
    sign: ({ tags, ...rest }) => finalizeEvent({ created_at: seconds(), content: "", ...rest, tags: [...tags, lives] }, secret),
    /** Subscribes; resolves when the stored events are through. */
    listen: (filter, onevent) =>
      new Promise((resolve, reject) => {
        relay.subscribe([filter], { onevent, oneose: resolve, onclose: (reason) => reject(new Error(reason)) });
      }),
  };
}

/** Ends the subscriptions, then the connection: nostr-tools does both at once, and the socket complains. */
async function leave(relay) {
  relay.onclose = null;
  for (const sub of relay.openSubs.values()) sub.close();
  await sleep(0);
  relay.close();
}

/** The other side, played by the page: takes the job of one buyer, says so, and answers. */
async function playProvider(provider, buyer) {
  await provider.listen({ kinds: [JOB], authors: [buyer] }, async (job) => {
    const about = [["e", job.id], ["p", job.pubkey]];
    const question = job.tags.find(([name]) => name === "i")?.[1];
    const content = `You asked: “${question}” This page answers itself: the way of the job was real, the thinking was not.`;
    try {
      await sleep(600);
      await provider.relay.publish(provider.sign({ kind: FEEDBACK, tags: [["status", "processing"], ...about] }));
      await sleep(900);
      await provider.relay.publish(provider.sign({ kind: RESULT, tags: [["request", JSON.stringify(job)], ...about], content }));
    } catch {
      // The OK that refuses it has been shown; the buyer stops waiting by itself.
    }
  });
}

/**
 * Sends a job and waits for its result.
 * @param {{ url: string, prompt: string, play: boolean, signal: AbortSignal, onStep: (text: string) => void,
 *   onJob: (job: object) => void, onMessage: (who: string, way: string, message: any[]) => void }} options
 * @returns the result event and how many ms it took
 */
export async function runJob({ url, prompt, play, signal, onStep, onJob, onMessage }) {
  const relays = [];
  const enter = (who) => {
    signal.throwIfAborted();
    const relay = new Relay(url, { websocketImplementation: tapped(who, onMessage) });
    relays.push(relay); // to be left even when the key is refused
    return join(relay);
  };
  try {
    onStep("Connecting and proving a key…");
    const buyer = await enter("buyer");
    const provider = play ? await enter("provider") : null;
    if (provider) await playProvider(provider, buyer.pubkey);
    // Asks the page's own provider when there is one, so that others do not work for nothing.
    const asked = provider ? [["p", provider.pubkey]] : [];
    const job = buyer.sign({ kind: JOB, tags: [["i", prompt, "text"], ...asked] });
    onStep("Listening for answers and sending the job…");
    return await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error("no provider has answered within a minute. The box above has the page do it")), PATIENCE);
      const stop = (error) => (clearTimeout(late), reject(error));
      if (signal.aborted) return stop(signal.reason);
      signal.addEventListener("abort", () => stop(signal.reason));
      for (const relay of relays) relay.onclose = () => stop(new Error("the connection was lost"));
      let sentAt = Date.now();
      const answered = (event) => {
        const status = event.tags.find(([name]) => name === "status")?.[1];
        if (event.kind === RESULT) {
          clearTimeout(late);
          resolve({ result: event, took: Date.now() - sentAt });
        } else if (status === "error") stop(new Error("the provider gave up"));
        else onStep(status === "payment-required" ? "The provider wants to be paid first." : `Feedback: ${status}`);
      };
      const send = async () => {
        await buyer.listen({ kinds: [RESULT, FEEDBACK], "#e": [job.id] }, answered);
        sentAt = Date.now();
        await buyer.relay.publish(job);
        onJob(job);
        onStep("The job is stored. Waiting for a provider…");
      };
      send().catch(stop);
    });
  } finally {
    await Promise.all(relays.map(leave));
  }
}
