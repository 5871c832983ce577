// What the pages show is the same of the native program: the tests of the HUD and of a job's page once more.
process.env.NEXUS_HOST = "native";
await import("./hud.test.mjs");
await import("./job.test.mjs");
