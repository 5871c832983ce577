// Who offers a kind of job, from /api/handlers. Names are what strangers call themselves.
import { byId, element, fillTable, setText } from "./dom.js";
import { number, percent, span, time } from "./format.js";
import { kindLabel } from "./market.js";
import { readHandlers } from "./reads.js";

/** How many kinds are offered as buttons. */
const MOST = 6;

let kind = 5050;
let chosen = false;
let shownKind = null;
let told = () => {};

/** `onHandlers` is told of each kind that is read, and who handles it. */
export function build(onHandlers) {
  told = onHandlers;
  byId("capability").addEventListener("submit", (event) => {
    event.preventDefault();
    choose(Number(byId("kind").value));
  });
  fillTable(byId("providers"), CAPTION, HEAD, []);
}

const CAPTION = "The best first";
const HEAD = ["Provider", "Presence", "Success", "Results", "Median", "Score"];

function choose(wanted) {
  chosen = true;
  kind = wanted;
  byId("kind").value = wanted;
  refresh();
}

/** The kinds there have been jobs of, the most asked first; the first one is shown until another is chosen. */
export function known(kinds) {
  const bar = byId("known");
  if (bar.dataset.kinds === kinds.join()) return;
  bar.dataset.kinds = kinds.join();
  byId("known-kinds").replaceChildren(...kinds.map((value) => element("option", { value }, kindLabel(value))));
  const buttons = kinds.slice(0, MOST).map((value) => {
    const button = element("button", { type: "button", "aria-label": `Show providers of kind ${kindLabel(value)}` }, String(value));
    button.addEventListener("click", () => choose(Number(value)));
    return button;
  });
  const focused = buttons.find((button) => button.textContent === bar.querySelector(":focus")?.textContent);
  bar.replaceChildren(...buttons);
  focused?.focus(); // who goes by keyboard stays where he was
  if (!chosen && kinds.length > 0) choose(Number(kinds[0]));
}

export async function refresh() {
  const asked = kind;
  try {
    const handlers = await readHandlers(asked);
    told(asked, handlers);
    if (asked === kind) show(handlers);
  } catch (error) {
    if (asked !== kind) return;
    setText(byId("providers-said"), `${kindLabel(kind)}: not known (${error.message})`);
    if (shownKind !== kind) fillTable(byId("providers"), CAPTION, HEAD, []); // of another kind
  }
}

function show(handlers) {
  const online = handlers.filter((handler) => handler.online).length;
  const text = handlers.length === 0 ? "nobody has announced it (kind 31990)" : `${number(handlers.length)} announced, ${number(online)} online`;
  setText(byId("providers-said"), `${kindLabel(kind)}: ${text}`);
  const rows = handlers.map((handler) => [
    { text: name(handler), title: handler.pubkey, mark: "name" },
    handler.online ? { text: "● online", mark: "good" } : seen(handler.last_seen),
    percent(handler.success_rate),
    number(handler.results),
    time(handler.median_ms),
    handler.score.toFixed(2),
  ]);
  fillTable(byId("providers"), CAPTION, HEAD, rows);
  shownKind = kind;
}

function name({ metadata, pubkey, d }) {
  const said = [metadata?.name, metadata?.display_name, d].find((text) => typeof text === "string" && text.trim() !== "");
  return `${said ? `${said.slice(0, 60)} · ` : ""}${pubkey.slice(0, 8)}…`;
}

function seen(at) {
  return at === null ? "never seen" : `○ ${span(Date.now() / 1000 - at)} ago`;
}
