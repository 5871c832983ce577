// Cloudflare's API as far as wrangler asks it for a deploy: run as a program it listens at a port of its own, which it prints, and prints
// each request after that. Databases are SQLite in memory; what a deploy uploads is kept as wrangler sent it.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";

const databases = new Map();
const workers = new Map();
const ACCOUNT = { id: "a1", name: "Mine" };

class Failed extends Error {
  constructor(code, message, status = 404) {
    super(message);
    Object.assign(this, { code, status });
  }
}

const told = ({ uuid, name, jurisdiction }) => ({ uuid, name, jurisdiction, version: "production", created_at: "2026-11-29T00:00:00Z" });
const found = (key) => databases.get(key) ?? [...databases.values()].find(({ name }) => name === key) ?? (() => { throw new Failed(7404, "The database could not be found"); })();
const worker = (name) => workers.get(name) ?? (() => { throw new Failed(10007, "This Worker does not exist on your account."); })();

/** Each statement of a text, as D1 answers it. */
function query(db, { sql, params = [] }) {
  const statements = sql.split(/;\s*(?:\n|$)|;(?= SELECT)/).filter((one) => one.trim() !== "");
  return statements.map((one) => {
    const results = /^\s*(SELECT|PRAGMA|WITH)/i.test(one) ? db.prepare(one).all(...params) : (db.exec(one), []);
    return { results, success: true, meta: { duration: 0, changes: 0, rows_read: 0, rows_written: 0, size_after: 0, last_row_id: 0, changed_db: false, served_by: "test" } };
  });
}

/** The bindings in what was uploaded, by their names. */
async function uploaded(body, type) {
  const form = await new Response(body, { headers: { "Content-Type": type } }).formData();
  const metadata = JSON.parse(await new Response(form.get("metadata")).text());
  return { metadata, files: [...form.keys()].filter((key) => key !== "metadata") };
}

const ROUTES = [
  ["GET /user/tokens/verify", () => ({ id: "t", status: "active" })],
  ["GET /user", () => ({ id: "u", email: "me@example.com" })],
  ["GET /accounts", () => [ACCOUNT]],
  ["GET /memberships", () => [{ id: "m", account: ACCOUNT }]],
  ["GET /accounts/a1/d1/database", () => [...databases.values()].map(told)],
  ["POST /accounts/a1/d1/database", ({ json }) => {
    const one = { uuid: randomUUID(), name: json.name, jurisdiction: json.jurisdiction ?? null, hint: json.primary_location_hint, db: new DatabaseSync(":memory:") };
    databases.set(one.uuid, one);
    return told(one);
  }],
  ["GET /accounts/a1/d1/database/([^/]+)", (_, key) => told(found(key))],
  ["POST /accounts/a1/d1/database/([^/]+)/query", ({ json }, key) => query(found(key).db, json)],
  ["GET /accounts/a1/d1/database/([^/]+)/time_travel/bookmark", (_, key) => ({ bookmark: `mark-of-${found(key).name}` })],
  ["GET /accounts/a1/workers/scripts/([^/]+)/deployments", (_, name) => ({ deployments: [{ id: "d", source: "wrangler", strategy: "percentage", author_email: "", created_on: "2026-11-29T00:00:00Z", versions: [{ version_id: worker(name).version, percentage: 100 }] }] })],
  ["GET /accounts/a1/workers/scripts/([^/]+)/versions/([^/]+)", (_, name) => ({ id: worker(name).version, number: 1, metadata: {}, resources: { bindings: worker(name).metadata.bindings, script: {}, script_runtime: {} } })],
  ["GET /accounts/a1/workers/scripts/([^/]+)/secrets", (_, name) => (worker(name), [])],
  ["POST /accounts/a1/workers/scripts/([^/]+)/assets-upload-session", ({ json }) => ({ jwt: "j", buckets: [Object.values(json.manifest).map(({ hash }) => hash)] })],
  ["POST /accounts/a1/workers/assets/upload", () => ({ jwt: "done" })],
  ["PUT /accounts/a1/workers/scripts/([^/]+)", async ({ body, type }, name) => {
    workers.set(name, { ...(await uploaded(body, type)), version: randomUUID() });
    return { id: name, etag: "e", pipeline_hash: "p", mutable_pipeline_id: "m", deployment_id: "d", startup_time_ms: 1, entry_point: "index.js" };
  }],
  ["GET /accounts/a1/workers/services/([^/]+)", (_, name) => ({ id: name, default_environment: { environment: "production", script: { id: name, tag: "t", last_deployed_from: "wrangler", ...worker(name) } } })],
  ["(GET|PUT|PATCH) /accounts/a1/workers/workers/([^/]+)", (_, __, name) => ({ id: name, name, subdomain: { enabled: true, previews_enabled: false }, observability: {}, references: {}, tags: [], logpush: false, tail_consumers: [] })],
  ["GET /accounts/a1/workers/scripts/([^/]+)/settings", (_, name) => ({ bindings: worker(name).metadata.bindings, tags: [] })],
  ["GET /accounts/a1/workers/subdomain", () => ({ subdomain: "me" })],
  ["(GET|POST) /accounts/a1/workers/scripts/([^/]+)/subdomain", () => ({ enabled: true, previews_enabled: false })],
  ["POST /accounts/a1/workers/scripts/([^/]+)/domains/changeset", ({ json }) => ({ added: json.map((one, n) => ({ ...one, id: `${n}` })), removed: [], updated: [], conflicting: [] })],
  ["PUT /accounts/a1/workers/scripts/([^/]+)/domains/records", ({ json }, name) => ((worker(name).domains = json.origins.map(({ hostname }) => hostname)), json.origins)],
  ["GET /told", () => ({ workers: Object.fromEntries(workers), databases: [...databases.values()].map((one) => ({ ...told(one), hint: one.hint })) })],
];

async function answer({ method, url, headers }, body) {
  const path = `${method} ${url.replace(/^\/client\/v4/, "").replace(/\?.*$/, "")}`;
  const [pattern, route] = ROUTES.find(([pattern]) => new RegExp(`^${pattern}$`).test(path)) ?? [];
  if (route === undefined) throw new Failed(7000, `No route for ${path}`);
  const type = headers["content-type"] ?? "";
  const json = type.includes("json") && body.length > 0 ? JSON.parse(body) : undefined;
  return route({ body, type, json }, ...new RegExp(`^${pattern}$`).exec(path).slice(1));
}

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await Array.fromAsync(request));
  response.setHeader("Content-Type", "application/json");
  try {
    const result = await answer(request, body);
    console.log(request.method, request.url, 200);
    response.end(JSON.stringify({ success: true, errors: [], messages: [], result, result_info: { page: 1, per_page: 50, count: 1, total_count: 1, total_pages: 1 } }));
  } catch (error) {
    console.log(request.method, request.url, error.message, body.toString("utf8").slice(0, 200));
    response.statusCode = error.status ?? 500;
    response.end(JSON.stringify({ success: false, errors: [{ code: error.code ?? 1, message: error.message }], messages: [], result: null }));
  }
});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(server.address().port));
