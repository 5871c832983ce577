#!/usr/bin/env node
// The package's command, in words that a Node of ten years knows: one too old for all else is told so.
var oldest = 16;
if (Number(process.versions.node.split(".")[0]) < oldest) {
  console.error("\n✗ Node " + process.version + " is too old: install Node 22.13 or newer, from https://nodejs.org or your system's packages.");
  process.exit(1);
}
import("./cli.mjs").catch(function (error) {
  console.error(error);
  process.exit(1);
});
