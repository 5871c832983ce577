// Arguments of a command, by Node's own parser.
import { parseArgs } from "node:util";
import { fail } from "./run.mjs";

export const text = { type: "string" };
export const flag = { type: "boolean" };
export const list = { type: "string", multiple: true };
/** A relay of its own beside the first one: see `relayFiles` of config. */
export const ENV = { env: { type: "string", short: "e" } };

/** All arguments: `values`, or the end of the script with `help` where one is not known or `check` throws. */
export function all(args, options, help, check = () => {}) {
  try {
    const { values } = parseArgs({ args, options });
    check(values);
    return values;
  } catch (error) {
    return fail(`${error.message}\n${help}`);
  }
}

/**
 * Arguments of which wrangler has the most: the `values` of those that we look at, the `words` that belong to no option, and
 * the `rest` to hand on, which is all but `--env` and `--help`.
 */
export function some(args, options) {
  const { values, positionals: words, tokens } = parseArgs({ args, options: { ...ENV, help: flag, ...options }, strict: false, tokens: true });
  const ours = new Set();
  for (const { kind, name, index, inlineValue } of tokens) {
    if (kind !== "option" || !(name === "env" || name === "help")) continue;
    ours.add(index);
    if (name === "env" && inlineValue === false) ours.add(index + 1);
  }
  const wrong = wrongEnv(values.env);
  if (wrong !== null) fail(wrong);
  return { values, words, rest: args.filter((_, index) => !ours.has(index)) };
}

/** Why a name is none for a relay of its own, of whose Worker's name it becomes a part; or null. */
export function wrongEnv(env) {
  const right = env === undefined || (typeof env === "string" && /^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$/.test(env));
  return right ? null : `--env takes a name of at most 20 small letters, digits and dashes, not "${env}"`;
}
