// Builds the native program with the HUD in it: target/release/nexus.
import { buildHud } from "./hud.mjs";
import { run, say } from "./run.mjs";
import { setup } from "./setup.mjs";

await setup();
await buildHud();
say("building the native program (cargo build --release --features native)");
await run("cargo", ["build", "--release", "--locked", "--features", "native"]);
say("it is target/release/nexus");
