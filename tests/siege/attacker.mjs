// One attack in a process of its own: `node attacker.mjs NAME URL ADDRESS SECONDS`, started with a channel to its
// parent. It says when it is ready, waits for the word, attacks, and tells what it met.
import WebSocket, { WebSocketServer } from "ws";
import { author, sleep } from "../support/relay.mjs";
import { ATTACKS, refusal } from "./attacks.mjs";

const [name, url, address, seconds] = process.argv.slice(2);
const { run } = ATTACKS.find((attack) => attack.name === name);
const headers = { "CF-Connecting-IP": address };
const met = { sent: 0, ended: 0, accepted: 0, refused: {} };
const count = (what) => (met.refused[what] = (met.refused[what] ?? 0) + 1);
let end = Infinity;
let place = url;

/** Somebody who hears everything and says what a client waits for: the attack without a relay. */
async function nobody() {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", maxPayload: 0 });
  await new Promise((resolve) => server.on("listening", resolve));
  server.on("connection", (socket) => {
    socket.send('["AUTH","x"]');
    socket.on("error", () => {});
    socket.on("message", (data) => data.length < 2000 && `${data}`.startsWith('["AUTH"') && socket.send('["OK","",true,""]'));
  });
  return `ws://127.0.0.1:${server.address().port}`;
}

const hands = {
  seconds: Number(seconds),
  authors: (many) => Array.from({ length: many }, () => author()),
  /** Waits until the attack may begin. */
  async ready() {
    process.send({ ready: true });
    await new Promise((resolve) => process.once("message", resolve));
    if (url === "nobody") place = await nobody();
    end = Date.now() + seconds * 1000;
  },
  /** A connection that has proven its keys; a deaf one reads nothing after that. */
  async connect({ prove = [], deaf = false, hurried = false } = {}) {
    const socket = new WebSocket(place, { headers, perMessageDeflate: false });
    const closed = new Promise((resolve) => socket.on("close", resolve));
    const self = {
      over: false,
      send(message) {
        if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > 64_000_000) return;
        met.sent += 1;
        socket.send(Buffer.isBuffer(message) || typeof message === "string" ? message : JSON.stringify(message));
      },
      /** Reads from now on. */
      read: () => socket.resume(),
      /** Waits for its end, and some milliseconds at the most. */
      end: (ms) => Promise.race([closed, sleep(ms)]),
      close: () => (self.closing = true) && socket.close(),
    };
    socket.on("close", () => {
      self.over = true;
      if (!self.closing && Date.now() < end) met.ended += 1;
    });
    const heard = [];
    let challenge;
    const greeted = new Promise((resolve) => {
      socket.on("error", resolve);
      socket.on("unexpected-response", (_, { statusCode }) => resolve(count(`HTTP ${statusCode}`)));
      socket.on("message", (data) => {
        const text = `${data}`;
        if (text.startsWith('["EVENT"')) return;
        const frame = JSON.parse(text);
        if (frame[0] === "AUTH") resolve((challenge ??= frame[1]));
        else if (heard.length) heard.shift()();
        else if (refusal(frame)) count(refusal(frame));
        else if (frame[0] === "OK") met.accepted += 1;
      });
    });
    await Promise.race([greeted, closed, sleep(2000)]);
    if (hurried || challenge === undefined) return self;
    for (const who of prove) {
      const proof = who.sign({ kind: 22242, tags: [["relay", "wss://nexus.example"], ["challenge", challenge]] });
      const answered = new Promise((resolve) => heard.push(resolve));
      socket.send(JSON.stringify(["AUTH", proof]));
      await Promise.race([answered, closed, sleep(2000)]);
    }
    if (deaf) socket.pause();
    return self;
  },
  /** Acts so many times a second until the time is over; what is late is made up for. */
  async pace(rate, act) {
    const start = Date.now();
    for (let n = 0; Date.now() < end; ) {
      const due = Math.floor(((Date.now() - start) * rate) / 1000);
      for (; n <= due && Date.now() < end; n++) await act(n);
      await sleep(10);
    }
  },
  async ask(method, path) {
    try {
      const { status } = await fetch(`${place.replace("ws", "http")}${path}`, { method, headers });
      met.sent += 1;
      if (status === 429 || status === 503) count(`HTTP ${status}`);
      else met.accepted += 1;
    } catch {
      met.ended += 1;
    }
  },
};

await run(hands);
await new Promise((resolve) => process.send(met, resolve));
process.exit();
