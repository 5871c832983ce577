// A small market for the page to show: buyers ask, providers answer, some jobs fail, some are refused.
import { agent, sleep } from "../support/relay.mjs";

const KINDS = [5050, 5050, 5050, 5100, 5002, 5250];
const NAMES = ["Echo of the North", "Quick Pens", "Pixelworks"];

/** Providers and buyers on the relay; `stop` ends what `run` has begun. */
export async function market(relay) {
  const providers = await Promise.all(NAMES.map(() => agent(relay)));
  const buyers = await Promise.all([agent(relay), agent(relay)]);
  const kinds = [...new Set(KINDS)];
  for (const [n, provider] of providers.entries()) {
    const offers = kinds.filter((_, at) => (at + n) % 3 !== 1 || n === 0);
    const tags = [["d", "main"], ...offers.map((kind) => ["k", String(kind)])];
    await provider.publish({ kind: 31990, tags, content: JSON.stringify({ name: NAMES[n] }) });
  }
  let asked = 0;

  /** One job through to what becomes of it: most are answered, some fail, are left open or cancelled. */
  async function job(pause) {
    const n = asked++;
    const [buyer, provider] = [buyers[n % buyers.length], providers[n % providers.length]];
    const kind = KINDS[n % KINDS.length];
    const request = await buyer.publish({ kind, tags: [["i", `question ${n}`, "text"]] });
    const about = [["e", request.id], ["p", buyer.pubkey]];
    const feedback = (status) => provider.publish({ kind: 7000, tags: [["status", status], ...about] });
    if (n % 11 === 10) return; // nobody takes it
    await sleep(pause);
    if (n % 13 === 12) return buyer.publish({ kind: 5, tags: [["e", request.id]] });
    await feedback("processing");
    if (n % 17 === 16) return feedback("partial");
    await sleep(pause * (1 + (n % 5)));
    if (n % 9 === 8) return feedback("error");
    await provider.publish({ kind: kind + 1000, tags: about, content: `answer ${n}` });
  }

  let running = false;
  let open = [];
  return {
    providers,
    buyers,
    job,
    /** Something to refuse: a request with a bad output. */
    nonsense: () => buyers[0].publish({ kind: 5050, tags: [["output", ""]] }).catch(() => {}),
    /** A job every so many ms. */
    run(every, pause) {
      running = true;
      const go = async () => {
        while (running) {
          open.push(job(pause));
          await sleep(every);
        }
      };
      open.push(go());
    },
    /** Ends it and waits until what is under way is done. */
    async stop() {
      running = false;
      for (let count = -1; count !== open.length; ) {
        count = open.length;
        await Promise.all(open);
      }
      open = [];
    },
    close: () => [...providers, ...buyers].forEach((who) => who.close()),
  };
}
