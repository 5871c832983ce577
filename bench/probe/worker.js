// What a relay on Cloudflare cannot do without, by itself: verifying, committing groups to D1, sending.
// The clock of a Worker stands still while it computes, so whoever asks takes the time.
import { DurableObject } from "cloudflare:workers";
import wasm from "./probe.wasm";

const probe = new WebAssembly.Instance(wasm, {}).exports;
let groups = [];

function statements(db, from, size, version, lastSeq) {
  const length = probe.group(from, size, version, lastSeq);
  const json = new TextDecoder().decode(new Uint8Array(probe.memory.buffer, probe.text(), length));
  return JSON.parse(json).map(([sql, params]) => db.prepare(sql).bind(...params));
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const number = (name) => Number(url.searchParams.get(name));
    switch (url.pathname) {
      case "/prepare": { // events, and the groups of them that are to be committed
        probe.prepare(number("first"), number("count"), Math.floor(Date.now() / 1000));
        groups = [];
        // They are committed in their order, and each is a version.
        const { version, last_seq } = await env.DB.prepare("SELECT version, last_seq FROM totals").first();
        for (let from = 0; from < number("count") && number("size") > 0; from += number("size")) {
          groups.push(statements(env.DB, from, number("size"), version + groups.length, last_seq + from));
        }
        return new Response(String(groups.length));
      }
      case "/verify":
        return new Response(String(probe.verify(number("count"))));
      case "/commit": // as many of them as are asked for
        for (const group of groups.splice(0, number("groups"))) await env.DB.batch(group);
        return new Response("ok");
      case "/echo":
        return env.ECHO.get(env.ECHO.idFromName("echo")).fetch(request);
    }
    return new Response("not found", { status: 404 });
  },
};

export class Echo extends DurableObject {
  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, message) {
    socket.send(message);
  }
}
