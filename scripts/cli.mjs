// What the package's command does with its first word. In a checkout `npm start` and `npm run deploy` do the same.
import "./node.mjs"; // nothing else before this: an old Node does not know what the others import

const { readFileSync } = await import("node:fs");
const { join } = await import("node:path");
const { FOLDER, ROOT, fail } = await import("./run.mjs");

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
const HELP = `nexus-relay ${version}: a Nostr relay for a market in which software agents buy and sell compute

  npx nexus-relay dev [options]        serves the relay on this machine: ws://127.0.0.1:8787
  npx nexus-relay deploy [options]     puts it on your Cloudflare account, or a newer version over an older one
  npx nexus-relay job [URL]            sends one job from a buyer to a provider and back, to try a relay
  npx nexus-relay wrangler ARGUMENTS   Cloudflare's command line: login, and tail or d1 for what was deployed

  --help after a command says its options; --version

What is yours is kept in this folder: wrangler.override.toml (address, databases, settings), .wrangler (the local relay).`;

const commands = {
  dev: async (args) => (await import("./start.mjs")).dev(args),
  deploy: async (args) => (await import("./deploy.mjs")).deploy(args),
  wrangler: async (args) => (await import("./wrangler.mjs")).wrangler(args),
  job: async ([url = "ws://127.0.0.1:8787"]) => {
    if (!/^wss?:\/\//.test(url)) fail(`a relay's address begins with ws:// or wss://, not "${url}": npx nexus-relay job ws://127.0.0.1:8787`);
    process.argv.splice(2, Infinity, url);
    try {
      await import("../examples/job.mjs");
    } catch (error) {
      fail(`the job did not go through at ${url}: ${error?.message ?? error}\n  Is a relay there? npx nexus-relay dev starts one on this machine.`);
    }
  },
};

const [command, ...args] = process.argv.slice(2);
if (command === "--version" || command === "-v") console.log(version);
else if (command === undefined || command === "--help" || command === "-h" || command === "help") console.log(HELP);
else if (!Object.hasOwn(commands, command)) fail(`there is no command ${command}\n${HELP}`);
else await commands[command](args);
