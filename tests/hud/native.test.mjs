// What the page shows is the same of the native program: the tests of `hud.test.mjs` once more.
process.env.NEXUS_HOST = "native";
await import("./hud.test.mjs");
