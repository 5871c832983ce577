// What the first deploy of a relay settles: what it may write, and where it is.
import { databases, isMade } from "./config.mjs";
import { LOCATIONS } from "./databases.mjs";
import { fail } from "./run.mjs";

/** What Cloudflare's plans include: rows a day, and most of the bytes a database can have. */
export const PLANS = {
  free: { ROWS_PER_DAY: "100000", MAX_DATABASE_BYTES: "450000000" },
  paid: { ROWS_PER_DAY: "1600000", MAX_DATABASE_BYTES: "9500000000" },
};

/** Whether nothing was deployed with this config yet. */
const isFirst = (config) => !databases(config).some(isMade) && !config.vars.ROWS_PER_DAY;

/**
 * The ceiling to keep: of the plan that was given, or is asked for where there is no ceiling and no database yet.
 * Nothing for a relay that has been deployed: what it has stays.
 */
export async function ceiling(given, config, ask) {
  if (given === undefined && !isFirst(config)) return {};
  const plan = given ?? (await ask("Which plan is your Cloudflare account on, free or paid? The relay will not write more rows a day than it includes."));
  return PLANS[plan.toLowerCase()] ?? fail(`the plan is free or paid, not "${plan}"; nothing was deployed`);
}

/**
 * Where databases and their objects are to be, as a setting: asked for once, before there is a database, where a person can
 * answer. Nothing where Cloudflare may choose, or a jurisdiction leaves no choice.
 */
export async function location(given, config, ask) {
  const open = isFirst(config) && !config.vars.LOCATION && !config.vars.JURISDICTION;
  const place = given ?? (open ? await ask(`Where are most of its clients? The databases are made there (${LOCATIONS.join(", ")}); empty: near you.`) : "");
  if (place === "") return {};
  return LOCATIONS.includes(place.toLowerCase()) ? { LOCATION: place.toLowerCase() } : fail(`the location is one of ${LOCATIONS.join(", ")}, not "${place}"; nothing was deployed`);
}

/** The jurisdiction as a setting. Ends the script where a relay that was deployed is to come into another one: its objects stay where they are. */
export function jurisdiction(given, config) {
  const is = config.vars.JURISDICTION ?? "";
  const within = given ?? is;
  if (within !== "" && (config.vars.LOCATION || config.vars.PLACES)) {
    fail("JURISDICTION says where everything is: LOCATION and PLACES must be empty then; nothing was deployed");
  }
  if (within === is) return {};
  if (!isFirst(config)) {
    fail(`the relay was deployed in ${is === "" ? "no jurisdiction" : `the jurisdiction ${is}`}, and what it has cannot be moved; nothing was deployed.\n  A second relay can be in another one: --env NAME --jurisdiction ${given}`);
  }
  return { JURISDICTION: given };
}
