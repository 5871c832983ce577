// Keys in a TOML file that is somebody's own: what else stands there stays as it is, comments too.

/** A line without what means nothing. */
const bare = (line) => line.replace(/#.*$/, "").replace(/\s+/g, "").replaceAll("'", '"');

/** The first lines of all tables. */
const headsOf = (lines) => lines.flatMap((line, n) => (line.trim().startsWith("[") ? [n] : []));

/** Where a table is that begins with the first line of `head` and has the others: its first line, and the one after its last. */
function tableOf(lines, head) {
  const starts = headsOf(lines);
  const tables = starts.map((start, n) => ({ start, end: starts[n + 1] ?? lines.length }));
  const has = ({ start, end }, text) => lines.slice(start + 1, end).some((line) => bare(line) === bare(text));
  return tables.find((table) => bare(lines[table.start]).startsWith(bare(head[0])) && head.slice(1).every((text) => has(table, text)));
}

/** What stands before all tables, from behind the comments that the file begins with. */
function topOf(lines) {
  const first = lines.findIndex((line) => line.trim() !== "" && !line.startsWith("#"));
  return { start: (first < 0 ? lines.length : first) - 1, end: headsOf(lines)[0] ?? lines.length };
}

/** The text of a TOML file with a key of a table set; without a `head` it belongs to none. `head` begins the table where there is none. */
export function setKey(text, head, key, value) {
  const lines = text.replace(/\n*$/, "").split("\n");
  const line = `${key} = ${JSON.stringify(value)}`;
  const table = head.length === 0 ? topOf(lines) : tableOf(lines, head);
  if (!table) return `${[...lines, "", ...head, line].join("\n").trimStart()}\n`;
  const at = lines.findIndex((text, n) => n > table.start && n < table.end && text.split("=")[0].trim() === key);
  if (at < 0) lines.splice(table.start + 1, 0, line);
  else lines[at] = line;
  return `${lines.join("\n").trimStart()}\n`;
}
