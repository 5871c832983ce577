// What CHANGELOG.md says of this version: the notes of its release.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, fail } from "./run.mjs";

/** The section of a version in the text of CHANGELOG.md, without its heading. */
export function notes(text, version) {
  const section = text.split(/^## /m).find((section) => section.split(/\s/)[0] === version);
  return section?.slice(section.indexOf("\n")).trim();
}

if (fileURLToPath(import.meta.url) === process.argv[1]) {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  console.log(notes(readFileSync(join(ROOT, "CHANGELOG.md"), "utf8"), version) ?? fail(`CHANGELOG.md has no section ${version}`));
}
