// What can be ruled and read by the management API: which methods, how an item is named, and how it is written. Knows
// nothing of the page.
import { decode, noteEncode, npubEncode } from "nostr-tools/nip19";
import { bytes, number, span } from "./format.js";

const isHex = (text) => /^[0-9a-f]{64}$/.test(text);
/** Both ends of a long name. */
const short = (name) => `${name.slice(0, 12)}…${name.slice(-6)}`;

export const ago = (at) => {
  const seconds = Math.floor(Date.now() / 1000) - at;
  return seconds < 1 ? "now" : `${span(seconds)} ago`;
};
const because = (reason) => (reason ? `“${reason}”, ` : "");

/** What nip19 or hex digits name; `take` picks it from a decoded name. */
function named(text, what, take) {
  const given = text.trim().replace(/^nostr:/, "");
  if (isHex(given.toLowerCase())) return given.toLowerCase();
  try {
    const found = take(decode(given));
    if (found) return found;
  } catch {
    // Told below.
  }
  throw new Error(`That is no ${what}.`);
}

const keyOf = (text) => named(text, "public key: npub1… or 64 hex digits", ({ type, data }) => ({ npub: data, nprofile: data.pubkey })[type]);
const eventOf = (text) => named(text, "event: note1…, nevent1… or 64 hex digits", ({ type, data }) => ({ note: data, nevent: data.id })[type]);
const key = (item) => short(npubEncode(item));

/**
 * What is ruled over: how it is listed, ruled and lifted, and in which words. `item` is what names one in the list,
 * `params` what a call is given, `read` what somebody has typed.
 */
export const RULES = {
  key: {
    list: "listbannedpubkeys", rule: "banpubkey", lift: "unbanpubkey",
    title: "Banned keys", verb: "Ban", undo: "Lift the ban", label: "A key to ban", hint: "npub1…",
    item: ({ pubkey }) => pubkey, read: keyOf, name: key, whole: npubEncode, ruled: "is banned; its connections have ended", lifted: "is not banned any more",
  },
  network: {
    list: "listblockedips", rule: "blockip", lift: "unblockip",
    title: "Blocked networks", verb: "Block", undo: "Unblock", label: "A network to block", hint: "192.0.2.0/24",
    item: ({ ip }) => ip, read: (text) => text.trim(), name: String, ruled: "is blocked; its connections have ended", lifted: "is not blocked any more",
  },
  event: {
    list: "listbannedevents", rule: "banevent", lift: "unbanevent",
    title: "Banned events", verb: "Ban", undo: "Lift the ban", label: "An event to ban and remove", hint: "note1…",
    item: ({ id }) => id, read: eventOf, name: (id) => short(noteEncode(id)), whole: noteEncode, ruled: "is banned and removed", lifted: "is not banned any more: it can be published anew",
  },
  kind: {
    list: "listdisallowedkinds", rule: "disallowkind", lift: "allowkind",
    title: "Kinds that are not taken", verb: "Disallow", undo: "Allow", label: "A kind to take no more", hint: "1",
    item: String, read: (text) => text.trim(), params: (item) => [Number(item)], name: (kind) => `Kind ${kind}`, ruled: "is not taken any more", lifted: "is taken again",
  },
  member: {
    list: "listallowedpubkeys", rule: "allowpubkey", lift: "unallowpubkey",
    title: "Allowed keys", verb: "Allow", undo: "Allow no more", label: "A key that may write, or enter, where not everybody may", hint: "npub1…",
    item: ({ pubkey }) => pubkey, read: keyOf, name: key, whole: npubEncode, ruled: "is allowed", lifted: "is not allowed any more",
  },
  manager: {
    list: "listmethodassignees", rule: "assignmethod", lift: "unassignmethod",
    title: "Who helps", verb: "Assign", undo: "Take back", label: "A key, and the method that it may use", hint: "npub1…",
    item: ({ pubkey, method }) => `${pubkey} ${method}`, params: (item) => item.split(" "), name: (item) => `${key(item.split(" ")[0])}: ${item.split(" ")[1]}`,
    read: keyOf, ruled: "is assigned", lifted: "is taken back",
  },
};

/** What a call about an item is given; a reason goes with what is ruled. */
export const paramsOf = (rule, item, reason) => [...(rule.params?.(item) ?? [item]), ...(reason && !rule.params ? [reason] : [])];

/** Items of a list, each with what is said of it. */
export function listed(sort, result) {
  const each = sort === "manager" ? result.flatMap(({ pubkey, methods }) => methods.map((method) => ({ pubkey, method }))) : result;
  return each.map((one) => ({ item: RULES[sort].item(one), below: one.since ? `${because(one.reason)}${ago(one.since)}` : "", reason: one.reason ?? "" }));
}

/** Whom one can rule over by a line of refusals or senders: a key that was proven, else the network. */
const about = ({ pubkey, proven = true, ip }) => {
  const of = [];
  if (pubkey && proven) of.push(["key", pubkey]);
  if (ip) of.push(["network", ip]);
  return of;
};
const whose = (line) => {
  if (line.pubkey) return line.proven === false ? `who says to be ${key(line.pubkey)}` : key(line.pubkey);
  return line.ip ? `Network ${line.ip}` : "Unknown";
};

/** Lines that are read and not ruled: what is said of each, and what can be ruled by it. */
export const READS = {
  senders: {
    list: "listsenders", title: "Who sends most", none: "Nobody has sent anything in the last half hour.",
    line: (one) => ({ head: whose(one), below: `${number(one.events)} events, ${bytes(one.bytes)}; the last ${ago(one.at)}`, about: about(one) }),
  },
  refusals: {
    list: "listrefusals", title: "Refused lately", none: "Nothing was refused since the relay woke.",
    line: (one) => {
      const times = one.times > 1 ? `${number(one.times)} times, ` : "";
      const kind = one.kind === null ? "" : `, kind ${one.kind}`;
      const from = one.pubkey && one.ip ? `, from ${one.ip}` : "";
      return { head: whose(one), below: `${one.reason} (${times}${ago(one.at)}${kind}${from})`, about: about(one) };
    },
  },
  audit: {
    list: "listauditlog", title: "Who did what", none: "Nothing was ruled yet.",
    line: (one) => ({ head: `${one.method} ${one.params.map(nice).join(" ")}`, below: `by ${key(one.by)}, ${ago(one.at)}`, about: [], number: one.number }),
  },
};
/** Lines of the audit log that come at once. */
export const AUDIT_LINES = 200;

const nice = (param) => (typeof param === "string" && isHex(param) ? `${param.slice(0, 8)}…` : typeof param === "string" && /\s/.test(param) ? `“${param}”` : param);
