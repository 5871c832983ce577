// The databases of a Worker with STORE = object, for tests to look into as they look into a D1: each is in its object, which
// is asked over HTTP.
import { readFileSync } from "node:fs";

/** The object of each partition. */
const object = (partition) => (partition === 0 ? "nexus" : `nexus-partition-${partition}`);

/**
 * Modules of the Worker with a way to the databases of its objects. `before` is SQL that an object's storage has been given
 * before the relay is first there.
 */
export function open(modules, before = "") {
  const worker = `
    import * as built from "./built.js";
    const before = ${JSON.stringify(before)};
    export class NexusRelay extends built.NexusRelay {
      constructor(state, env) {
        const { sql } = state.storage;
        const isNew = sql.exec("SELECT name FROM sqlite_schema WHERE name = 'events'").toArray().length === 0;
        if (isNew && before) state.storage.transactionSync(() => sql.exec(before).toArray());
        super(state, env);
        this.state = state;
      }
      async fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname === "/sql-reset") return this.state.abort("a test resets it");
        if (pathname !== "/sql") return super.fetch(request);
        const { storage } = this.state;
        const run = ({ sql, params }) => ({ results: storage.sql.exec(sql, ...params).toArray(), meta: { size_after: storage.sql.databaseSize } });
        try {
          const statements = await request.json();
          return Response.json(storage.transactionSync(() => statements.map(run)));
        } catch (error) {
          return new Response(error.message, { status: 500 });
        }
      }
    }
    export default class extends built.default {
      fetch(request) {
        const { pathname, search } = new URL(request.url);
        if (!pathname.startsWith("/sql")) return super.fetch(request);
        const objects = this.env.NEXUS_RELAY;
        return objects.get(objects.idFromName(search.slice(1))).fetch(request);
      }
    }`;
  return modules.flatMap((module) => (module.path !== "build/index.js" ? [module] : [
    { ...module, contents: worker },
    { ...module, path: "build/built.js", contents: readFileSync("build/index.js", "utf8") },
  ]));
}

/** The database of a partition, as if it were a D1. */
export function database(http, partition) {
  const batch = async (statements) => {
    const answer = await fetch(`${http}/sql?${object(partition)}`, { method: "POST", body: JSON.stringify(statements) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  const prepared = (sql, params) => {
    const run = async () => (await batch([{ sql, params }]))[0];
    return { sql, params, bind: (...params) => prepared(sql, params), run, all: run, first: async () => (await run()).results[0] ?? null };
  };
  /** Ends the object's memory. */
  const reset = () => fetch(`${http}/sql-reset?${object(partition)}`).catch(() => {});
  return { batch, prepare: (sql) => prepared(sql, []), reset };
}
