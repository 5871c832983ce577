// Making and changing elements. Text is only ever set as text, never as HTML: much of it comes from
// strangers.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (`null` and `false` leave one out) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/** Sets the text when it is another; `flash` shows that it has changed. */
export function setText(node, text, flash = false) {
  if (node.textContent === text) return;
  const first = node.textContent === "" || node.textContent === "–";
  node.textContent = text;
  if (!flash || first) return;
  node.classList.remove("changed");
  void node.offsetWidth; // starts the animation again
  node.classList.add("changed");
}

const shown = new WeakMap();

/**
 * Fills a table. The first cell of a row is its heading. A cell is text or
 * `{ text, title, mark }`. Nothing is touched when nothing has changed, so that a selection stays.
 */
export function fillTable(table, caption, head, rows) {
  const print = JSON.stringify([caption, head, rows]);
  if (shown.get(table) === print) return;
  shown.set(table, print);
  const cell = (name, attributes, content) => {
    const { text, title = null, mark = null } = typeof content === "string" ? { text: content } : content;
    return element(name, { ...attributes, title, class: mark }, element("bdi", {}, text));
  };
  const header = element("tr", {}, head.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, cell("th", { scope: "row" }, first), rest.map((content) => cell("td", {}, content))),
  );
  table.replaceChildren(element("caption", {}, caption), element("thead", {}, header), element("tbody", {}, body));
}
