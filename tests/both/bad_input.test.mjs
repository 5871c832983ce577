// Bad input on the wire: the exact answers are the engine's tests; here is what the socket itself and
// the object do with it, and that the connection goes on.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { author, rawAgent, startRelay } from "../support/relay.mjs";

let relay;
before(async () => (relay = await startRelay()));
after(() => relay.stop());

const alive = async (client) => {
  client.send(["REQ", "alive", { limit: 0 }]);
  for (;;) if ((await client.next())[0] === "EOSE") return;
};

test("frames that are no messages", async () => {
  const client = await rawAgent(relay);
  const cases = [
    ["hello", /^invalid: message must be a JSON array/],
    ["{}", /^invalid: message must be a JSON array/],
    ['["EVENT"', /^invalid: message must be a JSON array/],
    ["[]", /^invalid: message must begin with its type/],
    ['["HELLO"]', /^unsupported: message type "HELLO"/],
    ['["EVENT"]', /^invalid: EVENT takes one event/],
    ["\u0000", /^invalid: message must be a JSON array/],
    ['["REQ","\ud800",{}]', null],
    [`["REQ","s",${"[".repeat(60_000)}${"]".repeat(60_000)}]`, /object/],
    [`["CLOSE","${"x".repeat(131072)}"]`, /^restricted: message of \d+ bytes is over the limit of 131072/],
  ];
  for (const [frame, expected] of cases) {
    client.send(frame);
    const answer = await client.next();
    if (expected) assert.match(answer.at(-1), expected, frame.slice(0, 60));
    await alive(client);
  }
  client.close();
});

test("binary frames are refused and the connection goes on", async () => {
  const client = await rawAgent(relay);
  client.socket.send(Buffer.from(JSON.stringify(["REQ", "s", {}])), { binary: true });
  assert.deepEqual(await client.next(), ["NOTICE", "invalid: binary frames are not part of the protocol; send text"]);
  await alive(client);
  client.close();
});

test("a frame of 30 MB ends its connection, after the answers to what came before", async () => {
  const client = await rawAgent(relay);
  await alive(client);
  client.send(["HELLO"]);
  client.send(`["CLOSE","${"x".repeat(30_000_000)}"]`);
  const { code, reason } = await client.ended;
  assert.equal(code, 1009);
  assert.match(reason, /^a frame of 30000012 bytes; 131072 are the limit$/);
  assert.match((await client.next())[1], /^unsupported: message type "HELLO"/);
  const witness = await rawAgent(relay);
  await alive(witness);
  witness.close();
});

test("a frame of 1 MiB is refused under its id, and the connection goes on", async () => {
  const client = await rawAgent(relay);
  client.send(`["REQ","long",{"search":"${"x".repeat((1 << 20) - 28)}"}]`);
  assert.deepEqual((await client.next()).slice(0, 2), ["CLOSED", "long"]);
  await alive(client);
  client.close();
});

test("NUL, control characters and every script come back as they were sent", async () => {
  const client = await rawAgent(relay);
  const content = '\u0000\u0001\u001f\u007f\u2028 "\\/\n\r\t\b\f ü 🙂';
  const event = author().sign({ kind: 1111, tags: [["t", content], ["t", "\u0000"]], content });
  client.send(["EVENT", event]);
  assert.deepEqual(await client.next(), ["OK", event.id, true, ""]);
  client.send(["REQ", "s", { "#t": [content], kinds: [1111] }]);
  assert.deepEqual(await client.next(), ["EVENT", "s", event]);
  client.close();
});

test("10,000 random mutations of valid frames", async () => {
  const client = await rawAgent(relay);
  const who = author();
  const frames = [
    ["EVENT", who.sign({ kind: 5050, tags: [["i", 'q \\ "', "text"], ["p", who.pubkey]], content: "\n" })],
    ["REQ", "sub", { kinds: [5050], "#p": [who.pubkey], limit: 3 }, {}],
    ["AUTH", who.sign({ kind: 22242, tags: [["challenge", "c"]] })],
  ].map((frame) => JSON.stringify(frame));
  let seed = 20261121;
  const random = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const before = (await relay.stats()).events.stored;
  for (let round = 0; round < 10_000; round++) {
    let text = frames[random(frames.length)];
    for (let edits = 0; edits <= random(3); edits++) {
      const at = random(text.length);
      const spice = ['"', "\\", "[", "]", "{", "}", ",", "-", "1e999", "null", "\\ud800", "\u0000", "é"][random(13)];
      text = [text.slice(0, at) + text.slice(at + 1), text.slice(0, at) + spice + text.slice(at), text.slice(0, at)][random(3)];
    }
    client.send(text);
    if (round % 500 === 499) {
      client.send(["REQ", `mark ${round}`, { limit: 0 }]);
      for (;;) {
        const frame = await client.next();
        if (frame[0] === "EOSE" && frame[1] === `mark ${round}`) break;
      }
      client.send(["CLOSE", `mark ${round}`]);
    }
  }
  await alive(client);
  // The one event among the frames is signed; nothing else can have got in.
  assert.ok((await relay.stats()).events.stored - before <= 1);
  client.close();
});
