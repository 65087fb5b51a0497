import { ConfigFault, type ConfigText, lineEnd } from "./config-text.js";
import { type EntryChange, isTable, type ServerEntry } from "./entry.js";
import { put, readToml, type TomlStatement } from "./toml.js";

/** Settings in TOML, with a table for each server: `[mcp_servers.NAME]`. */
export function tomlConfig(text: string, key: string): ConfigText {
  const statements = readToml(text);
  const root: Record<string, unknown> = Object.create(null);
  for (const one of statements) if (one.kind === "pair") put(root, one.path, one.value, () => {});
  const servers = new Map<string, unknown>(isTable(root[key]) ? Object.entries(root[key]) : []);
  for (const one of statements) {
    // A table without a line in it is a server too: its name is taken.
    const name = one.kind === "header" && one.path[0] === key ? one.path[1] : undefined;
    if (name !== undefined && !servers.has(name)) servers.set(name, {});
  }
  const eol = lineEnd(text);
  return {
    servers,
    add: (name, entry) => {
      const closed = statements.find(
        (one) => one.kind === "pair" && one.path.length === 1 && one.path[0] === key,
      );
      if (closed)
        throw ConfigFault.at(text, closed.start, `"${key}" is closed here, so no table can be added to it`);
      const block = renderTable(key, name, entry, eol);
      if (text === "") return block;
      // A text without a line end at its end gets none: taking the table out again leaves what was there.
      return text.endsWith("\n") ? text + eol + block : text + eol + eol + block.slice(0, -eol.length);
    },
    change: (name, changes) =>
      changes.reduce((changed, one) => changedText(changed, [key, name], one, eol), text),
    remove: (name) => withoutStatements(text, statements, ownStatements(text, statements, [key, name])),
  };
}

/** A server as a table of its own, with its variables on one line. */
function renderTable(key: string, name: string, entry: ServerEntry, eol = "\n"): string {
  const lines = [`[${[key, name].map(renderKey).join(".")}]`];
  for (const [field, value] of Object.entries(entry)) lines.push(`${renderKey(field)} = ${render(value)}`);
  return lines.map((line) => line + eol).join("");
}

/** The statements of a server. Throws where it is not written as a table of its own. */
function ownStatements(
  text: string,
  statements: readonly TomlStatement[],
  server: readonly string[],
): TomlStatement[] {
  const own: TomlStatement[] = [];
  let inside = false;
  for (const one of statements) {
    if (one.kind === "header") inside = isUnder(one.path, server) && !one.array;
    if (inside) own.push(one);
    else if (isUnder(one.path, server) || (one.kind === "pair" && isUnder(server, one.path)))
      throw ConfigFault.at(
        text,
        one.start,
        `${server.join(".")} is written in another form than a table of its own, which cerver does not change`,
      );
  }
  return own;
}

/** The text with one field of a server changed, added or taken out. */
function changedText(
  text: string,
  server: readonly string[],
  { path, value }: EntryChange,
  eol: string,
): string {
  const statements = readToml(text);
  const own = ownStatements(text, statements, server);
  const full = [...server, ...path];
  const pair = own.find((one) => one.kind === "pair" && isSame(one.path, full));
  if (pair?.kind === "pair" && value !== undefined)
    return text.slice(0, pair.valueStart) + render(value) + text.slice(pair.valueEnd);
  const [field, variable] = path;
  const inline = own.find((one) => one.kind === "pair" && isSame(one.path, [...server, field]));
  if (variable !== undefined && inline?.kind === "pair" && isTable(inline.value)) {
    const { [variable]: _, ...others } = inline.value;
    const changed = value === undefined ? others : { ...others, [variable]: value };
    return text.slice(0, inline.valueStart) + render(changed) + text.slice(inline.valueEnd);
  }
  if (value === undefined)
    return withoutStatements(
      text,
      statements,
      own.filter((one) => isUnder(one.path, full)),
    );
  const table = own.find((one) => one.kind === "header" && isSame(one.path, [...server, field]));
  if (variable !== undefined && table)
    return addLine(text, table.end, `${renderKey(variable)} = ${render(value)}`, eol);
  const line = `${path.map(renderKey).join(".")} = ${render(value)}`;
  const header = own.find((one) => one.kind === "header" && isSame(one.path, server));
  if (header) return addLine(text, header.end, line, eol);
  const { start } = own[0]!;
  return `${text.slice(0, start)}[${server.map(renderKey).join(".")}]${eol}${line}${eol}${text.slice(start)}`;
}

function addLine(text: string, at: number, line: string, eol: string): string {
  const whole = at > 0 && text[at - 1] !== "\n" ? eol + line : line + eol;
  return text.slice(0, at) + whole + text.slice(at);
}

/** The text without some statements, and without the empty line before each table that goes. */
function withoutStatements(
  text: string,
  statements: readonly TomlStatement[],
  gone: readonly TomlStatement[],
): string {
  // Neighbours go together, with what stands between them.
  const spans: { start: number; end: number; table: boolean }[] = [];
  let previous: TomlStatement | undefined;
  for (const one of statements) {
    if (gone.includes(one)) {
      const last = spans.at(-1);
      if (last && previous && gone.includes(previous)) last.end = one.end;
      else spans.push({ start: one.start, end: one.end, table: one.kind === "header" });
    }
    previous = one;
  }
  return spans.reduceRight((rest, { start, end, table }) => {
    let before = rest.slice(0, start);
    if (table) before = before.replace(/(?<=^|\n)\r?\n$/, "");
    if (end === rest.length && !rest.endsWith("\n")) before = before.replace(/\r?\n$/, "");
    return before + rest.slice(end);
  }, text);
}

function isUnder(path: readonly string[], above: readonly string[]): boolean {
  return above.every((part, i) => path[i] === part);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && isUnder(a, b);
}

function renderKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : render(key);
}

function render(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(render).join(", ")}]`;
  if (isTable(value)) {
    const fields = Object.entries(value).map(([name, inner]) => `${renderKey(name)} = ${render(inner)}`);
    return fields.length > 0 ? `{ ${fields.join(", ")} }` : "{}";
  }
  // JSON's strings are TOML's, but for one character that TOML wants escaped.
  return typeof value === "string" ? JSON.stringify(value).replaceAll("\u007f", "\\u007f") : String(value);
}
