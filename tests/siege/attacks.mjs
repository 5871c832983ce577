// The attacks: each is one entry. `run` acts by the hands it is given (attacker.mjs) until the time is over, at twice
// what the limits of the siege allow or a little more. What must become of it is `ended` (the relay ends connections of
// the attacker), `refused` (he is told that it is too much), or `bounded` (he does not hear it). `short` ones are in
// each run of the tests.
import { sleep } from "../support/relay.mjs";

const MIB = 1_048_576;

/** What an answer refuses: the prefix of NIP-01, or nothing. */
export const refusal = ([verb, , third, fourth]) => {
  const reason = { OK: third === false ? fourth : "", CLOSED: third, NOTICE: "notice: " }[verb];
  return /^([a-z-]+): /.exec(reason ?? "")?.[1];
};

/** Events of several keys, each proven on some connection: `a` key signs, `make` says what. */
async function publishers(hands, { keys, connections, rate, make }) {
  const authors = hands.authors(keys);
  const events = [];
  for (let n = 0; n < hands.seconds * rate; n++) events.push(authors[n % keys].sign(make(n, authors[n % keys])));
  await hands.ready();
  const sockets = await Promise.all(
    Array.from({ length: connections }, (_, at) => hands.connect({ prove: authors.filter((_, n) => n % connections === at) })),
  );
  await hands.pace(rate, (n) => events[n] && sockets[(n % keys) % connections].send(["EVENT", events[n]]));
}

const guest = (frame, rate, { stay = 0 } = {}) => async (hands) => {
  await hands.ready();
  let socket = await hands.connect();
  await hands.pace(rate, async () => {
    if (socket.over) socket = await hands.connect();
    socket.send(frame);
    if (stay) await socket.end(stay);
  });
};

const proven = (rate, message, options) => async (hands) => {
  const [author] = hands.authors(1);
  await hands.ready();
  let socket = await hands.connect({ prove: [author], ...options });
  await hands.pace(rate, async (n) => {
    if (socket.over) socket = await hands.connect({ prove: [author], ...options });
    socket.send(message(n, author));
  });
};

const values = (count, start = 0) => Array.from({ length: count }, (_, n) => (start + n).toString(16).padStart(64, "0"));

export const ATTACKS = [
  { name: "a guest sends frames of one byte", run: guest("x", 256), must: "ended", short: true },
  { name: "a guest sends frames of 30 MiB", run: guest("x".repeat(30 * MIB), 2, { stay: 2000 }), must: "ended" },
  { name: "a guest sends binary frames", run: guest(Buffer.from("[]"), 40), must: "ended" },
  { name: "a guest proves keys with signatures that are none", run: guest(["AUTH", { id: "0".repeat(64) }], 40), must: "ended" },
  { name: "a key sends what is no message", run: proven(50, () => '["EVENT",{"id":'), must: "ended" },
  { name: "a key sends frames of a megabyte", run: proven(2, () => JSON.stringify(["EVENT", { content: "x".repeat(MIB - 100) }])), must: "refused" },
  {
    name: "64 keys of one address publish",
    must: "refused",
    short: true,
    run: (hands) => publishers(hands, { keys: 64, connections: 4, rate: 200, make: (n) => ({ kind: 1, content: `${n}` }) }),
  },
  {
    name: "16 keys of one address publish what nobody keeps",
    must: "refused",
    run: (hands) => publishers(hands, { keys: 16, connections: 2, rate: 200, make: (n) => ({ kind: 20_001, content: `${n}` }) }),
  },
  {
    name: "ten keys publish versions of one event each",
    must: "refused",
    short: true,
    run: (hands) => publishers(hands, { keys: 10, connections: 1, rate: 200, make: (n) => ({ kind: 30_000, tags: [["d", "x"]], content: `${n}` }) }),
  },
  {
    name: "a second of a kind is filled with events of 60 KB",
    must: "refused",
    run: (hands) =>
      publishers(hands, { keys: 2, connections: 2, rate: 25, make: (n) => ({ kind: 5050, content: `${n}${"x".repeat(60_000)}` }) }),
  },
  {
    name: "a key answers jobs that nobody asked and announces itself anew",
    must: "refused",
    run: (hands) =>
      publishers(hands, {
        keys: 1,
        connections: 1,
        rate: 200,
        make: (n) =>
          n % 2
            ? { kind: 31_990, tags: [["d", "h"], ["k", "5050"]], content: `{"name":"${n}"}` }
            : { kind: 7000, tags: [["e", values(1, n)[0]], ["p", values(1)[0]], ["status", "processing"]] },
      }),
  },
  {
    name: "keys vanish and are deleted",
    must: "refused",
    run: (hands) =>
      publishers(hands, {
        keys: 16,
        connections: 1,
        rate: 200,
        make: (n) => (n % 2 ? { kind: 62, tags: [["relay", "ALL_RELAYS"]], content: `${n}` } : { kind: 5, tags: values(20, n).map((id) => ["e", id]) }),
      }),
  },
  { name: "a key asks for all there is and does not read", run: proven(50, (n) => ["REQ", `${n}`, {}], { deaf: true }), must: "bounded", short: true },
  { name: "a key asks for 900 values times 100", run: proven(50, (n) => ["REQ", `${n}`, { "#t": values(100), "#p": values(900, n) }]), must: "refused", short: true },
  { name: "a key counts what is many", run: proven(50, (n) => ["COUNT", `${n}`, { kinds: [1, 5050, 6050, 7000], "#p": values(50, n) }]), must: "refused" },
  { name: "a key subscribes to what never comes", run: proven(50, (n) => ["REQ", `${n}`, { kinds: [5050], "#d": values(300, n * 300) }]), must: "refused" },
  {
    name: "an address connects again and again",
    must: "refused",
    short: true,
    run: async (hands) => {
      await hands.ready();
      await hands.pace(32, async () => (await hands.connect({ hurried: true })).close());
    },
  },
  {
    name: "connections of one address listen and read nothing, each fed slowly",
    must: process.env.NEXUS_HOST === "native" ? "bounded" : "ended",
    run: async (hands) => {
      const [speaker, ...listeners] = hands.authors(33);
      await hands.ready();
      const voice = await hands.connect({ prove: [speaker] });
      const ears = [];
      for (const listener of listeners) {
        const ear = await hands.connect({ prove: [listener], deaf: true });
        ear.send(["REQ", "all", { kinds: [20_001] }]);
        ears.push(ear);
        await sleep(50);
      }
      // In the end they read, and so learn whether they were closed.
      await hands.pace(1, (n) => {
        if (n > hands.seconds * 0.6) ears.forEach((ear) => ear.read());
        else voice.send(["EVENT", speaker.sign({ kind: 20_001, content: `${n}${"x".repeat(60_000)}` })]);
      });
    },
  },
  {
    // Of five requests two are for kinds that nobody has asked for before: twice what goes on to the relay.
    name: "an address asks over HTTP, and for ever new kinds",
    must: "refused",
    short: true,
    run: async (hands) => {
      await hands.ready();
      const paths = [["GET", "/health"], ["HEAD", "/api/stats"], ["GET", "/api/handlers?k=$"], ["HEAD", "/api/handlers?k=$"], ["GET", "/metrics"]];
      await hands.pace(80, (n) => {
        const [method, path] = paths[n % paths.length];
        void hands.ask(method, path.replace("$", 1000 + n));
      });
    },
  },
];
