// NIP-90: jobs. The NIP asks nothing of a relay: what a market adds is skipped where jobs are merely stored.
import { expect, now, reasoned, same, sameEvents, skip, sleep } from "./context.mjs";
import { FEEDBACK, KIND, RESULT, ask, cancel, feedback, needsMarket, people, result } from "./market.mjs";
import { encryptedChecks } from "./nip90_encrypted.mjs";
import { tagChecks } from "./nip90_tags.mjs";

export const nip = 90;

async function life(context) {
  const { counted, advertises, read, store, watch } = context;
  const [customer, provider] = await people(context, 2);
  const mine = { kinds: [KIND], "#p": [provider.pubkey] };
  const asked = await watch(provider.client, mine);
  const fresh = await watch(provider.client, { kinds: [KIND], since: now() });
  const job = ask(customer, [["p", provider.pubkey], ["bid", "5000"], ["output", "text/plain"]]);
  const answers = { kinds: [RESULT, FEEDBACK], "#e": [job.id], "#p": [customer.pubkey] };
  const live = await watch(customer.client, answers);
  // Somebody else's job for somebody else, with its answers.
  const theirs = ask(provider, [["p", customer.pubkey]]);
  await store(customer.client, theirs, feedback(customer, theirs, "processing"), result(customer, theirs), job);
  sameEvents(await asked.upTo(job), [job], "live by #p");
  await fresh.upTo(job);
  sameEvents(await read(provider.client, mine), [job], "stored by #p");
  const report = (status, ...tags) => feedback(provider, job, status, tags);
  const steps = [
    report("payment-required", ["amount", "5000", "lnbc50n1pexample"]), report("processing"), report("partial"),
    result(provider, job, { tags: [["request", JSON.stringify(job)], ["amount", "5000"]] }), report("success"),
  ];
  for (const step of steps) {
    await store(provider.client, step);
    sameEvents(await live.upTo(step), [step], "live by #e and #p");
  }
  const [, , , done] = steps;
  const reported = steps.filter((step) => step !== done);
  sameEvents(await read(customer.client, answers), steps, "stored by #e and #p");
  sameEvents(await read(customer.client, { kinds: [FEEDBACK], "#e": [job.id] }), reported, "feedback by #e");
  sameEvents(await read(customer.client, { kinds: [RESULT], "#p": [customer.pubkey] }), [done], "results by #p");
  sameEvents(await read(customer.client, { kinds: [RESULT], authors: [provider.pubkey] }), [done], "results by author");
  if (advertises(45)) same(await counted(customer.client, answers), steps.length, "count by #e and #p");
}

/** Answers that do not agree with a job for `provider` alone, by name, and some that do. */
function answersTo(job, provider, stranger) {
  const kinds = [result, (who, of) => feedback(who, of, "processing")];
  const theirs = { ...job, pubkey: stranger.pubkey };
  const disagree = kinds.map((answer) => ["another customer", answer(provider, theirs)]);
  disagree.push(["a result of another kind", result(provider, { ...job, kind: job.kind + 1 })]);
  const agree = [provider, stranger].flatMap((who) => [feedback(who, job, "processing"), result(who, job)]);
  return { disagree, agree };
}

export const checks = [
  { name: "a job from request to result is sent live and found by #e and #p", run: life },
  {
    name: "an answer to a request unknown here is accepted, and public",
    async run(context) {
      const { author, read, store } = context;
      const [provider, stranger] = await people(context, 2);
      const job = ask(author());
      const answers = [feedback(provider, job, "processing"), result(provider, job)];
      await store(provider.client, ...answers);
      sameEvents(await read(stranger.client, { "#e": [job.id] }), answers, "a stranger");
      await store(provider.client, job);
      sameEvents(await read(stranger.client, { "#e": [job.id] }), answers, "a stranger, after the request");
    },
  },
  {
    name: "an answer that disagrees with a request held is refused with invalid:",
    async run(context) {
      await needsMarket(context);
      const { read, refuse, store } = context;
      const [customer, provider, second, stranger] = await people(context, 4);
      const job = ask(customer, [["p", provider.pubkey], ["p", second.pubkey]]);
      await store(customer.client, job);
      const { disagree, agree } = answersTo(job, provider, stranger);
      for (const [what, answer] of disagree) {
        await refuse(provider.client, answer, ["invalid"], `${what}, kind ${answer.kind}`);
      }
      const all = [...agree, feedback(second, job, "processing"), result(second, job)];
      await store(provider.client, ...all);
      sameEvents(await read(customer.client, { "#e": [job.id] }), all, "stored");
    },
  },
  {
    name: "answers that came first and disagree stay when the request comes",
    async run(context) {
      await needsMarket(context);
      const { read, store } = context;
      const [customer, provider, stranger] = await people(context, 3);
      const job = ask(customer, [["p", provider.pubkey]]);
      const { disagree, agree: kept } = answersTo(job, provider, stranger);
      // One result of a provider is kept: the check above has the provider's other wrong ones.
      const isSecond = ({ kind, pubkey }) => kind !== FEEDBACK && pubkey === provider.pubkey;
      const answers = [...kept, ...disagree.map(([, answer]) => answer).filter((answer) => !isSecond(answer))];
      await store(provider.client, ...answers);
      sameEvents(await read(customer.client, { "#e": [job.id] }), answers, "before the request");
      await store(customer.client, job);
      sameEvents(await read(customer.client, { "#e": [job.id] }), answers, "after the request");
    },
  },
  {
    name: "a second result of one provider is refused with duplicate:, another provider's taken",
    async run(context) {
      await needsMarket(context);
      const { author, publish, read, refuse, store } = context;
      const [customer, one, two] = await people(context, 3);
      const known = await store(customer.client, ask(customer));
      for (const job of [known, ask(author())]) {
        const [first, second] = ["4", "5"].map((content) => result(one, job, { content }));
        await store(one.client, first);
        await refuse(one.client, second, ["duplicate"], "a second result");
        await store(one.client, first, feedback(one, job, "success"), feedback(one, job, "processing"));
        const race = ["6", "7", "8"].map((content) => result(two, job, { content }));
        const answers = await Promise.all(race.map((event) => publish(two.client, event)));
        const winners = race.filter((_, at) => answers[at][2]);
        same(winners.length, 1, "results taken of three at a time");
        for (const answer of answers.filter(([, , taken]) => !taken)) reasoned(answer, ["duplicate"], "the others");
        sameEvents(await read(customer.client, { kinds: [RESULT], "#e": [job.id] }), [first, ...winners], "stored");
      }
    },
  },
  {
    name: "the customer's kind 5 takes the request away, and is sent live and found by #e",
    async run(context) {
      const { eventually, read, store, watch } = context;
      const [customer, provider] = await people(context, 2);
      const job = await store(customer.client, ask(customer));
      const done = await store(provider.client, result(provider, job));
      const live = await watch(provider.client, { kinds: [5], "#e": [job.id] });
      const end = await store(customer.client, cancel(customer, job));
      sameEvents(await live.upTo(end), [end], "live");
      sameEvents(await read(provider.client, { kinds: [5], "#e": [job.id] }), [end], "stored");
      const gone = async () => (await read(provider.client, { ids: [job.id] })).length === 0;
      await eventually(gone, "the request is still served");
      sameEvents(await read(provider.client, { kinds: [RESULT], "#e": [job.id] }), [done], "the result before it");
    },
  },
  {
    name: "results after the customer's kind 5 are refused with blocked: job cancelled",
    async run(context) {
      await needsMarket(context);
      const { publish, read, store } = context;
      const [customer, provider, late] = await people(context, 3);
      const [answered, open, unseen] = [ask(customer), ask(customer), ask(customer)];
      await store(customer.client, answered, open);
      const done = await store(provider.client, result(provider, answered));
      for (const job of [answered, open, unseen]) {
        await store(customer.client, cancel(customer, job));
        const answer = await publish(late.client, result(late, job));
        same(answer.slice(2), [false, "blocked: job cancelled"], "a result after the kind 5");
      }
      const filter = { kinds: [RESULT], "#e": [answered.id, open.id, unseen.id] };
      sameEvents(await read(customer.client, filter), [done], "stored");
    },
  },
  {
    name: "an answer that disagrees with a request is refused when that is cancelled, too",
    async run(context) {
      await needsMarket(context);
      const { publish, store } = context;
      const [customer, provider, stranger] = await people(context, 3);
      const job = await store(customer.client, ask(customer, [["p", provider.pubkey]]));
      await store(customer.client, cancel(customer, job));
      const { disagree } = answersTo(job, provider, stranger);
      for (const [what, answer] of disagree.filter(([, { kind }]) => kind !== FEEDBACK)) {
        const refusal = await publish(provider.client, answer);
        expect(refusal[2] === false, `${what} was not refused`);
        reasoned(refusal, ["blocked", "invalid"], what);
      }
    },
  },
  {
    name: "who has answered gets a NOTICE with the id of a job that is cancelled, nobody else does",
    async run(context) {
      await needsMarket(context);
      const { store } = context;
      const [customer, done, busy, idle, other] = await people(context, 5);
      const job = await store(customer.client, ask(customer));
      await store(done.client, result(done, job));
      await store(busy.client, feedback(busy, job, "processing"));
      const isNotice = ([verb, text]) => verb === "NOTICE" && `${text}`.includes(job.id);
      await context.publish(other.client, cancel(other, job));
      await sleep(150);
      for (const { client } of [done, busy]) same(client.drain(isNotice), [], "a NOTICE after a stranger's kind 5");
      await store(customer.client, cancel(customer, job));
      for (const { client } of [done, busy]) await client.take(isNotice, "NOTICE with the job's id");
      await sleep(150);
      for (const { client } of [idle, other]) same(client.drain(isNotice), [], "a NOTICE to who has not answered");
    },
  },
  {
    name: "a kind 5 by anybody but the customer changes nothing",
    async run(context) {
      const { publish, read, store } = context;
      const [customer, provider, second, stranger] = await people(context, 4);
      const job = await store(customer.client, ask(customer));
      const first = await store(provider.client, result(provider, job));
      for (const who of [stranger, provider]) await publish(who.client, cancel(who, job)); // may be refused
      const later = await store(second.client, result(second, job));
      sameEvents(await read(customer.client, { ids: [job.id] }), [job], "the request");
      sameEvents(await read(customer.client, { kinds: [RESULT], "#e": [job.id] }), [first, later], "results");
    },
  },
  {
    name: "answers to a job that is not encrypted are public",
    async run(context) {
      const { read, store, watch } = context;
      const [customer, provider, stranger] = await people(context, 3);
      const job = await store(customer.client, ask(customer, [["p", provider.pubkey]]));
      const live = await watch(stranger.client, { "#e": [job.id] });
      const answers = [feedback(provider, job, "processing"), result(provider, job)];
      await store(provider.client, ...answers);
      sameEvents(await live.upTo(answers[1]), answers, "live");
      sameEvents(await read(stranger.client, { "#e": [job.id] }), answers, "stored");
    },
  },
  {
    name: "a request's own expiration holds",
    async run(context) {
      const { advertises, read, store } = context;
      if (!advertises(40)) throw skip("NIP-40 is not advertised");
      const [customer, provider] = await people(context, 2);
      const at = now() + 3;
      const until = (end) => ask(customer, [["p", provider.pubkey], ["expiration", `${end}`]]);
      const [short, long] = [until(at), until(at + 3600)];
      await store(customer.client, short, long);
      const filter = { kinds: [KIND], "#p": [provider.pubkey] };
      sameEvents(await read(provider.client, filter), [short, long], "before");
      await sleep(at * 1000 + 250 - Date.now());
      sameEvents(await read(provider.client, filter), [long], "after");
    },
  },
  ...tagChecks,
  ...encryptedChecks,
];
