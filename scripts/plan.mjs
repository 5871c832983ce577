// What a deploy is going to do, in words: shown before it does anything, and again with how far it came where it fails.
import { databases } from "./config.mjs";
import { fail, typed } from "./run.mjs";

/** The names that the Worker is given by its routes: `{ pattern, custom }`. */
export function routes({ route, routes = [] }) {
  const all = [...(route === undefined ? [] : [route]), ...routes];
  return all.map((one) => (typeof one === "string" ? { pattern: one, custom: false } : { pattern: one.pattern, custom: one.custom_domain === true }));
}

/** The addresses of a RELAY_URL. */
export const addresses = (url) => url.split(/[\s,]+/).filter(Boolean);

/** Whether a route's pattern takes what comes to a host. */
function takes(pattern, host) {
  const named = pattern.replace(/^https?:\/\//, "").split("/")[0];
  return named.startsWith("*") ? host.endsWith(named.slice(1)) : named === host;
}

/** What is to be said of addresses that the settings do not lead to the Worker. */
export function unrouted(config, override) {
  const given = routes(config);
  // As wrangler has it: who names routes has no workers.dev, unless he says so.
  const dev = config.workers_dev ?? given.length === 0;
  const hosts = addresses(config.vars.RELAY_URL).map((url) => URL.parse(url)?.hostname).filter(Boolean);
  const lost = hosts.filter((host) => (host.endsWith(".workers.dev") ? !dev : !given.some(({ pattern }) => takes(pattern, host))));
  return lost.map((host) =>
    host.endsWith(".workers.dev")
      ? `${host} leads nowhere while there are routes: workers_dev = true in ${override}`
      : `nothing in ${override} leads ${host} to the Worker; unless the dashboard does:\n      [[routes]]\n      pattern = "${host}"\n      custom_domain = true`,
  );
}

/** The account that is deployed to, as wrangler knows it; the script ends where there is none, or which of them is not said. */
export function account(wrangler, config) {
  const { output, failed } = wrangler("whoami", "--json");
  const text = output ?? failed;
  let who;
  try {
    who = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
  } catch {
    fail(`Cloudflare could not be asked who you are: ${text}`);
  }
  if (who.loggedIn !== true) fail(`not logged in to Cloudflare. Run: ${typed("wrangler", "login")} (or set CLOUDFLARE_API_TOKEN)`);
  const all = who.accounts ?? [];
  const id = config.account_id ?? process.env.CLOUDFLARE_ACCOUNT_ID;
  if (id !== undefined) return all.find((one) => one.id === id) ?? { id };
  if (all.length > 1) {
    const list = all.map((one) => `    account_id = "${one.id}"     # ${one.name}`).join("\n");
    fail(`you have ${all.length} accounts at Cloudflare. Say which one in the operator's file, before its tables, or by CLOUDFLARE_ACCOUNT_ID:\n${list}`);
  }
  return all[0];
}

/** The names that the Worker is given, as a line with a heading; none where it is given none. */
export function named(config) {
  const all = routes(config).map(({ pattern, custom }) => `${pattern} (${custom ? "custom domain" : "route"})`);
  return all.length === 0 ? [] : [["Domains", all.join(", ")]];
}

/** What the relay is by its settings, on an account if that is known. */
export function facts({ account, config, override }) {
  const { name, vars } = config;
  const lines = [
    ["Worker", name],
    ...(account ? [["Account", account.name ? `${account.name} (${account.id})` : account.id]] : []),
    ["Address", addresses(vars.RELAY_URL).join(" ") || "not said yet (--url)"],
    ...named(config),
    ...databases(config).map((one) => ["Database", one.database_name]),
    ...(vars.JURISDICTION ? [["Stays in", `the jurisdiction ${vars.JURISDICTION}`]] : vars.LOCATION ? [["Is in", vars.LOCATION]] : []),
    ["At most", vars.ROWS_PER_DAY ? `${vars.ROWS_PER_DAY} rows a day` : "no limit of rows a day (ROWS_PER_DAY)"],
    ["Yours", override],
  ];
  return lines.map(([key, value]) => `  ${key.padEnd(9)} ${value}`).join("\n");
}

/** What is about to be, line by line. */
export function plan({ account, config, override, steps, notes }) {
  const told = notes.map((note) => `  ! ${note}`);
  const all = [facts({ account, config, override }), "", ...steps.map((text, n) => `  ${n + 1}. ${text}`), ...(told.length > 0 ? ["", ...told] : [])];
  return ["what is going to be done", "", ...all, ""].join("\n");
}

/** How far it came. Where the script ends before all is done, what is there is told, and how it goes on. */
export function progress(texts, again) {
  const left = new Map(texts.map((text) => [text, "not done"]));
  const isDone = () => [...left.values()].every((state) => state === "done");
  process.on("exit", () => {
    if (isDone()) return;
    const lines = [...left].map(([text, state]) => `    ${state.padEnd(9)} ${text}`);
    console.error(`\n  How far it came:\n${lines.join("\n")}\n  What is done stays. When the cause is mended, this goes on from there: ${again}`);
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
  return async (text, work) => {
    left.set(text, "failed");
    const result = await work();
    left.set(text, "done");
    return result;
  };
}
