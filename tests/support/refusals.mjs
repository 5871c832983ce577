// The table of refusals as programs have it, judged by what is heard of a relay.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** All of them; `fits` is the pattern. */
export const REFUSALS = JSON.parse(readFileSync(new URL("../../docs/refusals.json", import.meta.url), "utf8")).map((it) => ({
  ...it,
  fits: new RegExp(it.pattern, "s"),
}));

/** Fails unless a frame that refuses is one of them, told as the table says. */
export function checkRefusal(frame) {
  const [verb, , third, fourth] = frame;
  const [told, said] = {
    OK: [third === true ? "OK true" : "OK", fourth],
    CLOSED: ["CLOSED", third],
    "NEG-ERR": ["NEG-ERR", third],
    NOTICE: ["NOTICE", frame[1]],
  }[verb] ?? [];
  if (!told || (told === "OK true" && said === "")) return;
  const found = REFUSALS.filter(({ fits }) => fits.test(said)).map((it) => [it.code, it.told.includes(told)]);
  assert.ok(found.length === 1 && found[0][1], `${told} ${JSON.stringify(said)} is, in docs/refusals.json: ${JSON.stringify(found)}`);
}
