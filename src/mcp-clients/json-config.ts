import {
  applyEdits,
  createScanner,
  getNodeValue,
  modify,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import type { ConfigSyntax } from "./clients.js";
import { ConfigFault, type ConfigText, lineEnd } from "./config-text.js";
import { isTable } from "./entry.js";

type JsonSyntax = Extract<ConfigSyntax, { format: "json" }>;

/** Settings in JSON, with the comments and trailing commas that their client takes. An empty file is an empty object. */
export function jsonConfig(source: string, syntax: JsonSyntax, key: string): ConfigText {
  const isEmpty = source.trim() === "";
  const text = isEmpty ? "{}\n" : source;
  const root = read(text, syntax);
  const list = member(text, root, key);
  if (list && list.type !== "object")
    throw ConfigFault.at(text, list.offset, `"${key}" has to be an object of servers by name`);
  const names = new Map((list?.children ?? []).map((one) => [one.children![0]!.value as string, one]));
  if (list) for (const name of names.keys()) member(text, list, name);
  const style = { eol: lineEnd(text), unit: indentUnit(text) };
  return {
    servers: new Map([...names].map(([name, property]) => [name, getNodeValue(property.children![1]!)])),
    add: (name, entry) =>
      list ? insert(text, list, name, entry, style) : insert(text, root, key, { [name]: entry }, style),
    change: (name, changes) =>
      changes.reduce((changed, { path, value }) => {
        const formattingOptions = {
          eol: style.eol,
          insertSpaces: !style.unit.startsWith("\t"),
          tabSize: style.unit.length,
        };
        return applyEdits(changed, modify(changed, [key, name, ...path], value, { formattingOptions }));
      }, text),
    remove: (name) => (list && names.has(name) ? without(text, list, names.get(name)!) : text),
  };
}

function read(text: string, { comments, trailingCommas }: JsonSyntax): Node {
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { disallowComments: !comments, allowTrailingComma: trailingCommas });
  const [first] = errors;
  if (first) throw ConfigFault.at(text, first.offset, inWords(printParseErrorCode(first.error)));
  if (root?.type !== "object")
    throw ConfigFault.at(text, root?.offset ?? 0, "The file has to hold a JSON object");
  return root;
}

/** The value of a member. One that is there twice is refused: readers do not agree on which of them counts. */
function member(text: string, object: Node, name: string): Node | undefined {
  const found = (object.children ?? []).filter((property) => property.children![0]!.value === name);
  if (found.length > 1) throw ConfigFault.at(text, found[1]!.offset, `"${name}" is there a second time`);
  return found[0]?.children?.[1];
}

/** Puts a member first in an object: no comma of another line has to change for it. */
function insert(
  text: string,
  object: Node,
  name: string,
  value: unknown,
  { eol, unit }: { eol: string; unit: string },
): string {
  const open = object.offset + 1;
  const close = object.offset + object.length - 1;
  const inner = text.slice(open, close);
  const hasMembers = object.children!.length > 0;
  if (hasMembers && !inner.includes("\n")) {
    const lead = /^\s*/.exec(inner)![0];
    return splice(text, open, open, `${lead}${JSON.stringify(name)}:${lead}${JSON.stringify(value)},`);
  }
  const outer = /^[ \t]*/.exec(text.slice(text.lastIndexOf("\n", object.offset) + 1))![0];
  const indent = hasMembers ? (ownIndent(text, object.children![0]!) ?? outer + unit) : outer + unit;
  const lines = render(value, unit)
    .split("\n")
    .join(eol + indent);
  // A comment behind the brace stays with the brace.
  const at = open + (/^[ \t]*(?:\/\/[^\r\n]*|\/\*[^\r\n]*?\*\/[ \t]*)(?=\r?\n)/.exec(inner)?.[0].length ?? 0);
  const tail = hasMembers ? "," : inner.includes("\n") ? "" : eol + outer;
  return splice(text, at, at, `${eol}${indent}${JSON.stringify(name)}: ${lines}${tail}`);
}

/** JSON over lines, with each array on one, as people write arguments. */
function render(value: unknown, unit: string): string {
  if (Array.isArray(value)) return `[${value.map((one) => JSON.stringify(one)).join(", ")}]`;
  if (!isTable(value)) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, inner]) => `${unit}${JSON.stringify(name)}: ${render(inner, unit).replaceAll("\n", `\n${unit}`)}`,
  );
  return `{\n${members.join(",\n")}\n}`;
}

/** Takes a member out, with its comma and the line end before it. */
function without(text: string, object: Node, property: Node): string {
  const members = object.children!;
  const end = property.offset + property.length;
  const before = /\s*$/.exec(text.slice(0, property.offset))![0];
  const lineStart = before.includes("\n") ? /\r?\n[^\n]*$/.exec(before)![0].length : before.length;
  const comma = commaAfter(text, end);
  // Where something follows on its line, the line stays: that must not get behind a comment of the line above.
  const isAlone = comma === undefined || /^[ \t]*(?:\r?\n|$)/.test(text.slice(comma + 1));
  const start = before.includes("\n") && !isAlone ? property.offset : property.offset - lineStart;
  if (comma !== undefined) return splice(text, start, comma + 1, "");
  const previous = members[members.indexOf(property) - 1];
  if (!previous) {
    const rest = splice(text, start, end, "");
    const close = object.offset + object.length - 1 - (end - start);
    return rest.slice(object.offset + 1, close).trim() === ""
      ? splice(rest, object.offset + 1, close, "")
      : rest;
  }
  const commaBefore = commaAfter(text, previous.offset + previous.length)!;
  return splice(splice(text, start, end, ""), commaBefore, commaBefore + 1, "");
}

/** Where the comma is that follows, with nothing but space and comments before it. */
function commaAfter(text: string, offset: number): number | undefined {
  const scanner = createScanner(text, true);
  scanner.setPosition(offset);
  scanner.scan();
  const at = scanner.getTokenOffset();
  return text[at] === "," ? at : undefined;
}

/** The space before a member that begins its line. */
function ownIndent(text: string, { offset }: Node): string | undefined {
  return /\n([ \t]*)$/.exec(text.slice(0, offset))?.[1];
}

function indentUnit(text: string): string {
  return (
    /\n([ \t]+)"/
      .exec(text)?.[1]
      ?.replace(/^(\t).*/, "$1")
      .slice(0, 8) ?? "  "
  );
}

function splice(text: string, start: number, end: number, middle: string): string {
  return text.slice(0, start) + middle + text.slice(end);
}

const WORDS: Record<string, string> = {
  InvalidCommentToken: "A comment is here, and this client takes none",
  PropertyNameExpected: "The name of a property is expected here, in double quotes",
  ValueExpected: "A value is expected here",
  ColonExpected: "A colon is expected here",
  CommaExpected: "A comma is expected here",
  CloseBraceExpected: "A closing brace is expected here",
  CloseBracketExpected: "A closing bracket is expected here",
  EndOfFileExpected: "The file goes on after the end of its object",
  UnexpectedEndOfString: "A string does not end on this line",
  UnexpectedEndOfComment: "A comment does not end",
};

function inWords(code: string): string {
  return WORDS[code] ?? `This is no JSON that the client takes (${code})`;
}
