// NIP-67: what EOSE says about completeness, and pages that lose nothing.
import { expect, newestFirst, now, sameEvents, skip } from "./context.mjs";

export const nip = 67;

/** From this limit on a page is filled up with the whole of its last second, if that is at most a quarter more. */
const WHOLE_SECONDS = 100;

/** The hints of an EOSE; none when it has but two elements. */
function hints(eose) {
  expect(eose, "CLOSED instead of EOSE");
  const list = eose[2] ?? [];
  expect(eose.length <= 3 && Array.isArray(list) && list.every((hint) => typeof hint === "string"), `EOSE is ${JSON.stringify(eose)}`);
  return list;
}

/** A REQ gives exactly these events and ends with this hint and not its opposite. */
async function page({ request }, client, filters, expected, hint, what) {
  const { events, eose } = await request(client, ...[filters].flat());
  sameEvents(events, expected, what);
  const got = hints(eose);
  expect(got.includes(hint), `${what}: EOSE says ${JSON.stringify(got)}, not ${hint}`);
  expect(!got.includes(hint === "finish" ? "more" : "finish"), `${what}: EOSE says both finish and more`);
}

/** Some events of one author, a second apart, newest first. */
async function few({ author, connect, store }, number) {
  const who = author();
  const client = await connect(who);
  const time = now() - 10;
  const events = Array.from({ length: number }, (_, at) => who.sign({ created_at: time - at }));
  await store(client, ...events);
  return { who, client, events };
}

/**
 * 120 events in one second, 60 in the six seconds after it and 120 in the ten before; made once a run.
 * `of(from, to)` are those of a range of seconds, 0 being the crowded one, in NIP-01's order.
 */
const crowd = ({ author, connect, store, limits, once }) =>
  once("crowd", async () => {
    if (limits.max_limit < WHOLE_SECONDS) throw skip(`max_limit is ${limits.max_limit}`);
    const who = author();
    const time = now() - 1000;
    const sizes = [...Array(6).fill(10).map((size, n) => [n + 1, size]), [0, 120], ...Array(10).fill(12).map((size, n) => [-n - 1, size])];
    const events = sizes.flatMap(([at, size]) => Array.from({ length: size }, (_, n) => who.sign({ created_at: time + at, content: `${n}` })));
    await store(await connect(who), ...events);
    const ordered = events.sort(newestFirst);
    const of = (from, to) => ordered.filter(({ created_at: at }) => at >= time + from && at <= time + to);
    return { authors: [who.pubkey], time, all: ordered, of };
  });

/** What all pages bring, each asked for from the oldest second of the last one on, or before it where that brought nothing new. */
async function paginate({ request }, client, filter) {
  const [pages, seen] = [[], new Set()];
  for (let until; pages.length < 50; ) {
    const { events, eose } = await request(client, { ...filter, ...(until !== undefined && { until }) });
    const fresh = events.filter(({ id }) => !seen.has(id));
    fresh.forEach(({ id }) => seen.add(id));
    pages.push(fresh);
    if (events.length === 0 || hints(eose).includes("finish")) return pages;
    until = Math.min(...events.map((event) => event.created_at)) - (fresh.length > 0 ? 0 : 1);
  }
  throw new Error("50 pages and no end");
}

export const checks = [
  {
    name: "finish when everything was sent",
    async run(context) {
      const { who, client, events } = await few(context, 5);
      const authors = [who.pubkey];
      await page(context, client, { kinds: [1], authors }, events, "finish", "no limit");
      await page(context, client, { kinds: [1], authors, limit: 6 }, events, "finish", "a limit above");
      await page(context, client, { kinds: [1], authors, limit: 5 }, events, "finish", "a limit just met");
      await page(context, client, { kinds: [1], ids: [events[0].id] }, [events[0]], "finish", "an id");
      await page(context, client, { authors, kinds: [7] }, [], "finish", "nothing stored");
      await page(context, client, { kinds: [1], authors, since: events[1].created_at, limit: 2 }, events.slice(0, 2), "finish", "a limit met within since");
    },
  },
  {
    name: "more when more are stored, never finish",
    async run(context) {
      const { who, client, events } = await few(context, 5);
      const authors = [who.pubkey];
      for (const limit of [1, 2, 4]) await page(context, client, { kinds: [1], authors, limit }, events.slice(0, limit), "more", `limit ${limit} of 5`);
      const { events: none, eose } = await context.request(client, { kinds: [1], authors, limit: 0 });
      sameEvents(none, [], "limit 0");
      expect(!hints(eose).includes("finish"), "limit 0 of 5 says finish");
    },
  },
  {
    name: "several filters: finish only if every one was exhausted",
    async run(context) {
      const { who, client, events } = await few(context, 5);
      const other = await few(context, 2);
      const [cut, whole] = [{ kinds: [1], authors: [who.pubkey], limit: 3 }, { kinds: [1], authors: [other.who.pubkey] }];
      await page(context, client, [whole, cut], [...other.events, ...events.slice(0, 3)], "more", "the second is cut");
      await page(context, client, [cut, whole], [...other.events, ...events.slice(0, 3)], "more", "the first is cut");
      await page(context, client, [whole, { kinds: [1], authors: [who.pubkey] }], [...other.events, ...events], "finish", "both whole");
    },
  },
  {
    name: "a page of 100 or more includes the whole of its last second, if that is at most a quarter more",
    async run(context) {
      const { authors, time, of } = await crowd(context);
      const client = await context.connect();
      const limit = WHOLE_SECONDS;
      await page(context, client, { kinds: [1], authors, until: time, limit }, of(0, 0), "more", "120 in the newest second");
      await page(context, client, { kinds: [1], authors, limit }, of(0, 6).slice(0, limit), "more", "60 newer and 120 in the last second");
      await page(context, client, { kinds: [1], authors, until: time - 1, limit }, of(-9, -1), "more", "12 in the last second");
    },
  },
  {
    name: "finish when the last second filled up the page and nothing is older",
    async run(context) {
      const { authors, time, of } = await crowd(context);
      const client = await context.connect();
      await page(context, client, { kinds: [1], authors, since: time, until: time, limit: WHOLE_SECONDS }, of(0, 0), "finish", "that second alone");
      await page(context, client, { kinds: [1], authors, since: time, limit: 150 }, of(0, 6), "finish", "that second and newer");
    },
  },
  {
    name: "a limit below 100 is met exactly, within a second, too",
    async run(context) {
      const { authors, time, of } = await crowd(context);
      const client = await context.connect();
      for (const limit of [1, 10, 99]) {
        await page(context, client, { kinds: [1], authors, until: time, limit }, of(0, 0).slice(0, limit), "more", `limit ${limit} of 120 in a second`);
      }
      await page(context, client, { kinds: [1], authors, limit: 65 }, of(0, 6).slice(0, 65), "more", "limit 65");
    },
  },
  {
    name: "pages asked for with until as the oldest lose nothing",
    async run(context) {
      const { authors, all } = await crowd(context);
      const client = await context.connect();
      const pages = await paginate(context, client, { kinds: [1], authors, limit: WHOLE_SECONDS });
      expect(pages.length > 1, "everything came in one page, beyond its limit");
      sameEvents(pages.flat(), all, `${pages.length} pages`);
    },
  },
  {
    name: "live events come after either hint",
    async run(context) {
      const { who, client } = await few(context, 3);
      const open = [await context.watch(client, { kinds: [1], authors: [who.pubkey] }), await context.watch(client, { kinds: [1], authors: [who.pubkey], limit: 1 })];
      const event = await context.store(client, who.sign({ content: "live" }));
      for (const { upTo } of open) sameEvents(await upTo(event), [event], "live");
    },
  },
  {
    name: "never finish where something may have been withheld, whether it was or not",
    async run({ author, connect, store, request }) {
      const [alice, bob] = [author(), author()];
      const client = await connect(author());
      const secret = alice.sign({ kind: 4, tags: [["p", bob.pubkey]] });
      for (const stored of [false, true]) {
        if (stored) await store(await connect(alice), secret);
        for (const filter of [{}, { ids: [secret.id] }, { authors: [alice.pubkey] }, { kinds: [1, 4], authors: [alice.pubkey] }]) {
          const { events, eose } = await request(client, { ...filter, limit: 1, since: secret.created_at });
          expect(events.every(({ id }) => id !== secret.id), "a direct message is shown to a stranger");
          expect(!hints(eose).includes("finish"), `${JSON.stringify(filter)} says finish, stored: ${stored}`);
        }
      }
    },
  },
];
