// The owner's page: signs in, reads what the key may read, and rules at one click, which can be undone.
import { npubEncode } from "nostr-tools/nip19";
import { caller } from "./calls.js";
import { byId, element, setText } from "./dom.js";
import { readDocument, relayUrl } from "./reads.js";
import { AUDIT_LINES, READS, RULES, listed, paramsOf } from "./rulings.js";
import { extension, invited, remote, wordsOf } from "./signers.js";

/** The parts in their order; the first two are read at once, the others when they are opened. */
const PARTS = ["senders", "refusals", "key", "network", "event", "kind", "member", "manager", "audit"];
const OPEN = 2;

let session = null; // who is signed in: the signer, its calls, the methods it may use, what it has ruled, what is being read
let relay = {}; // what the relay says of itself
let data = {}; // what was read, by part
let waiting = null; // ends the wait for a signer
const may = (method) => session.methods.has(method);
const listOf = (part) => (READS[part] ?? RULES[part]).list;

/** Says what was done, with what undoes it, or what went wrong. */
function say(text, { bad = false, undo = null } = {}) {
  const said = byId("said");
  said.toggleAttribute("data-bad", bad);
  said.hidden = false;
  setText(byId("said-text"), text);
  byId("undo").hidden = undo === null;
  byId("undo").onclick = undo;
}

/** Does something that may fail, and shows that it is being done. */
async function attempt(what) {
  byId("main").setAttribute("aria-busy", "true");
  try {
    return await what();
  } catch (error) {
    say(wordsOf(error), { bad: true });
  } finally {
    byId("main").removeAttribute("aria-busy");
  }
}

async function enter(signer) {
  const call = caller(signer);
  const methods = new Set(await call("supportedmethods"));
  session = { signer, call, methods, ruled: new Set(), reading: new Map() };
  data = {};
  byId("enter").hidden = byId("said").hidden = true;
  byId("desk").hidden = false;
  setText(byId("who"), npubEncode(signer.pubkey));
  byId("purges").hidden = !may("purgepubkey");
  byId("sections").replaceChildren(...PARTS.filter((part) => may(listOf(part)) || may(RULES[part]?.rule)).map(build));
  byId("main").focus();
  await refresh();
}

function leave() {
  session?.signer.close();
  session = null;
  byId("enter").hidden = false;
  byId("desk").hidden = byId("said").hidden = true;
  byId("sections").replaceChildren();
}

/** A part of the page: its heading, its list, and a form where something can be ruled. */
function build(part, at) {
  const { title } = READS[part] ?? RULES[part];
  const count = element("span", { class: "count quiet" });
  const details = element("details", { class: "card part", id: `part-${part}`, open: at < OPEN }, element("summary", {}, element("h2", {}, title), count));
  details.append(element("ul", { class: "items" }));
  if (part === "audit") details.append(older());
  if (RULES[part] && may(RULES[part].rule)) details.append(form(part));
  details.addEventListener("toggle", () => session && details.open && !data[part] && attempt(() => read(part)));
  return details;
}

function form(part) {
  const { label, hint, verb } = RULES[part];
  const input = element("input", { id: `new-${part}`, placeholder: hint, required: true, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const assignable = [...session.methods].filter((method) => !/^(un)?assignmethod$|^supportedmethods$/.test(method));
  const methods = part === "manager" ? element("select", { "aria-label": "Method" }, assignable.map((method) => element("option", {}, method))) : null;
  const made = element("form", { class: "line" }, element("label", { for: input.id }, label), input, methods, element("button", {}, verb));
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const item = RULES[part].read(input.value);
      await rule(part, methods ? `${item} ${methods.value}` : item);
      input.value = "";
    });
  });
  return made;
}

function older() {
  const button = element("button", { class: "more", type: "button", hidden: true }, "Older");
  button.addEventListener("click", () => attempt(() => read("audit", data.audit.at(-1).number)));
  return button;
}

/** Reads a part's list, or what is older than what was read. */
function read(part, before) {
  if (!may(listOf(part))) return undefined;
  const { reading } = session;
  if (!reading.has(part)) reading.set(part, ask(part, before).finally(() => reading.delete(part)));
  return reading.get(part);
}

async function ask(part, before) {
  const result = await session.call(listOf(part), ...(before ? [before] : []));
  const lines = READS[part] ? result.map(READS[part].line) : listed(part, result);
  data[part] = before ? [...data[part], ...lines] : lines;
  show(part, result.length >= AUDIT_LINES);
}

async function refresh() {
  for (const part of PARTS) if (byId(`part-${part}`)?.open) await read(part);
}

function show(part, hasMore = false) {
  const details = byId(`part-${part}`);
  if (!details || !data[part]) return;
  const focused = details.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
  setText(details.querySelector(".count"), String(data[part].length));
  const lines = data[part].map((line) => (READS[part] ? readLine(line) : ruledLine(part, line)));
  const none = element("li", {}, element("p", { class: "quiet" }, READS[part]?.none ?? "None."));
  details.querySelector(".items").replaceChildren(...(lines.length ? lines : [none]));
  if (part === "audit") details.querySelector(".more").hidden = !hasMore;
  // What was clicked is there again, and says what it does now.
  if (focused) details.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
}

const text = (head, below, whole) => element("div", {}, element("p", { title: whole ?? null }, element("bdi", {}, head)), element("p", { class: "quiet" }, below));

/** A button that rules over an item, or lifts what is ruled. */
function button(sort, item, lifts) {
  const { verb, undo, name, rule: does, lift: undoes } = RULES[sort];
  if (!may(lifts ? undoes : does)) return null;
  const label = lifts ? undo : verb;
  const made = element("button", { type: "button", "data-act": `${sort} ${item}`, "aria-label": `${label}: ${name(item)}` }, label);
  made.addEventListener("click", () => attempt(() => (lifts ? lift(sort, item) : rule(sort, item))));
  return made;
}

const isRuled = (sort, item) => session.ruled.has(`${sort} ${item}`) || data[sort]?.some((one) => one.item === item);

/** A line of who did something: ruled over is the key, or where there is none the network. */
function readLine({ head, below, about }) {
  const [[sort, item] = []] = about;
  const whole = sort && RULES[sort].whole?.(item);
  return element("li", {}, text(head, below, whole), sort ? button(sort, item, isRuled(sort, item)) : null);
}

const ruledLine = (sort, { item, below }) => element("li", {}, text(RULES[sort].name(item), below, RULES[sort].whole?.(item)), button(sort, item, true));

/** Rules over something, with all that goes with it. */
async function rule(sort, item, reason = byId("reason").value.trim(), purges = sort === "key" && may("purgepubkey") && byId("purge").checked) {
  const { rule: method, lift: undoes, name, ruled } = RULES[sort];
  // A ban takes a key off the list of those that are allowed: to undo it is to put it back.
  const other = { key: "member", member: "key" }[sort];
  const before = other && (await ruledBefore(other, item));
  await session.call(method, ...paramsOf(RULES[sort], item, reason));
  const undo = may(undoes) ? () => attempt(() => lift(sort, item, before && [other, before.reason])) : null;
  session.ruled.add(`${sort} ${item}`);
  let said = `${name(item)} ${ruled}.`;
  if (purges) {
    const purged = await session.call("purgepubkey", item).then(() => " What it has published is removed.", (error) => ` What it has published is still there: ${wordsOf(error)}`);
    said += purged;
  }
  say(said, { undo });
  await changed(sort, other);
}

/** What an item was ruled otherwise, where that matters and may be read. */
async function ruledBefore(sort, item) {
  if (sort === "member" && !relay.limitation?.restricted_writes) return undefined;
  if (!data[sort] && may(RULES[sort].list)) await read(sort);
  return data[sort]?.find((one) => one.item === item);
}

/** Lifts what is ruled, and rules again what that had taken back. */
async function lift(sort, item, again) {
  const { lift: method, name, lifted } = RULES[sort];
  const reason = data[sort]?.find((one) => one.item === item)?.reason;
  await session.call(method, ...paramsOf(RULES[sort], item));
  session.ruled.delete(`${sort} ${item}`);
  if (again && may(RULES[again[0]].rule)) await session.call(RULES[again[0]].rule, ...paramsOf(RULES[again[0]], item, again[1]));
  const undo = may(RULES[sort].rule) && !again ? () => attempt(() => rule(sort, item, reason ?? byId("reason").value.trim(), false)) : null;
  say(`${name(item)} ${lifted}.`, { undo });
  await changed(sort, again?.[0]);
}

/** Reads anew what was read and has changed; what is not open is read when it is opened. */
async function changed(...sorts) {
  for (const part of [...sorts, "audit"].filter(Boolean)) {
    delete data[part];
    if (byId(`part-${part}`)?.open) await read(part);
  }
  show("senders");
  show("refusals");
}

async function introduce() {
  relay = await readDocument();
  setText(byId("name"), relay.name);
  document.title = `${relay.name}: moderation`;
  setText(byId("owner"), relay.pubkey ? ` (${npubEncode(relay.pubkey)})` : ", which this relay has none of yet: set RELAY_PUBKEY");
}

function wait(link) {
  byId("link").hidden = false;
  byId("link-open").href = link;
  byId("link-copy").onclick = () =>
    navigator.clipboard.writeText(link).then(
      () => setText(byId("link-copy"), "Copied"),
      () => say(`Copy it by hand: ${link}`),
    );
}

byId("invite-relay").value = relayUrl;
byId("extension").addEventListener("click", () => attempt(async () => enter(await extension())));
byId("bunker").addEventListener("submit", (event) => {
  event.preventDefault();
  const address = byId("bunker-uri").value;
  byId("bunker-uri").value = ""; // it may hold a secret
  attempt(async () => enter(await remote(address)));
});
byId("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  waiting?.abort();
  waiting = new AbortController();
  attempt(async () => enter(await invited(byId("invite-relay").value, document.title, wait, waiting.signal))).finally(() => (byId("link").hidden = true));
});
byId("leave").addEventListener("click", leave);
byId("refresh").addEventListener("click", () => attempt(refresh));
byId("dismiss").addEventListener("click", () => (byId("said").hidden = true));
introduce().catch(() => {}); // what is wrong with the relay is told to who signs in
