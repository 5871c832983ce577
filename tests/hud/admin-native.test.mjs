// The owner's page is the same of the native program: the tests of `admin.test.mjs` once more.
process.env.NEXUS_HOST = "native";
await import("./admin.test.mjs");
