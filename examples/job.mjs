// One job from buyer to provider and back, with nostr-tools: node examples/job.mjs ws://127.0.0.1:8787
//
// The provider announces that it takes kind 5050 (NIP-89) and waits for jobs; the buyer finds it by
// that kind, publishes a job (NIP-90) and receives feedback and the result. Both prove a key first
// (NIP-42).
import { Relay, useWebSocketImplementation } from "nostr-tools/relay";
import { finalizeEvent, generateSecretKey, getPublicKey } from "nostr-tools/pure";
import WebSocket from "ws";

useWebSocketImplementation(WebSocket);
const url = process.argv[2] ?? "ws://127.0.0.1:8787";
const JOB = 5050; // text generation

/** A key and its connection, authenticated. */
async function agent(name) {
  const secret = generateSecretKey();
  const relay = await Relay.connect(url);
  // The relay sends its challenge at once; nostr-tools keeps it until auth() is called.
  while (!relay.challenge) await new Promise((resolve) => setTimeout(resolve, 5));
  const sign = (template) => finalizeEvent({ created_at: Math.floor(Date.now() / 1000), tags: [], content: "", ...template }, secret);
  await relay.auth(async (template) => finalizeEvent(template, secret));
  console.log(`${name}: authenticated as ${getPublicKey(secret).slice(0, 8)}…`);
  return {
    pubkey: getPublicKey(secret),
    publish: async (template) => {
      const event = sign(template);
      await relay.publish(event);
      return event;
    },
    /** The first event that matches. The subscription ends with the connection. */
    next: (filter) =>
      new Promise((resolve, reject) => {
        relay.subscribe([filter], { onevent: resolve, onclose: (reason) => reject(new Error(reason)) });
      }),
    close: () => relay.close(),
  };
}

const provider = await agent("provider");
const buyer = await agent("buyer   ");

await provider.publish({ kind: 31990, tags: [["d", "example"], ["k", String(JOB)]], content: '{"name":"Echo"}' });
console.log("provider: announced kind", JOB);

const handler = await buyer.next({ kinds: [31990], "#k": [String(JOB)], authors: [provider.pubkey] });
console.log("buyer   : found", JSON.parse(handler.content).name);

const job = provider.next({ kinds: [JOB], "#p": [provider.pubkey] });
const asked = await buyer.publish({
  kind: JOB,
  tags: [["i", "What is a relay?", "text"], ["bid", "1000"], ["p", handler.pubkey]],
});
console.log("buyer   : asked", asked.id.slice(0, 8) + "…");

const request = await job;
const about = [["e", request.id], ["p", request.pubkey]];
const feedback = buyer.next({ kinds: [7000], "#e": [asked.id] });
const result = buyer.next({ kinds: [JOB + 1000], "#e": [asked.id] });
await provider.publish({ kind: 7000, tags: [["status", "processing"], ...about] });
console.log("buyer   : feedback", (await feedback).tags.find(([name]) => name === "status")[1]);
await provider.publish({ kind: JOB + 1000, tags: [["request", JSON.stringify(request)], ...about], content: "Somebody who passes it on." });
console.log("buyer   : result", JSON.stringify((await result).content));

provider.close();
buyer.close();
