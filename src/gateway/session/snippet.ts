import type { SnippetPart } from "../../protocol/search.js";
import type { Term } from "../store/entry-words.js";
import { type Word, wordsOf } from "../store/words.js";

/** How much text a snippet shows, in characters, and how much of it before the match. */
const SNIPPET_LENGTH = 200;
const BEFORE = 50;
/** More matches in one text count no more. */
const MAX_MATCHES = 200;

/** A place where a term stands. */
interface Match {
  term: number;
  start: number;
  end: number;
}

/** How well a text answers the terms, from 0 to 1: how often each is there, in how short a text. */
export function relevance(text: string, terms: readonly Term[]): number {
  const found = matchesIn(text, terms);
  const length = 0.5 + 0.5 * Math.min(4, text.length / 2_000);
  const per = terms.map((_, index) => {
    const count = found.filter(({ term }) => term === index).length;
    return count / (count + length);
  });
  return per.reduce((sum, one) => sum + one, 0) / terms.length;
}

/** The words around the place where most of the terms are near each other, in pieces; the beginning when none is there. */
export function snippetOf(text: string, terms: readonly Term[]): SnippetPart[] {
  const found = matchesIn(text, terms);
  const best = densest(found);
  const first = found[best]?.start ?? 0;
  const from = first <= BEFORE ? 0 : afterSpace(text, first - BEFORE, first);
  const to = Math.min(text.length, from + SNIPPET_LENGTH);
  const parts: SnippetPart[] = [];
  const add = (part: string, match?: true) => {
    if (part !== "") parts.push({ text: part, ...(match && { match }) });
  };
  let at = from;
  if (from > 0) add("…");
  for (const { start, end } of found) {
    if (start < at || end > to) continue;
    add(text.slice(at, start));
    add(text.slice(start, end), true);
    at = end;
  }
  add(whole(text.slice(at, to)) + (to < text.length ? "…" : ""));
  return parts;
}

/** Where a piece may begin: after a space, if there is one near, and never within a sign. */
function afterSpace(text: string, from: number, before: number): number {
  const space = text.slice(from, before).search(/\s/);
  if (space >= 0) return from + space + 1;
  return /[\udc00-\udfff]/.test(text[from] ?? "") ? from + 1 : from;
}

function whole(text: string): string {
  return /[\ud800-\udbff]$/.test(text) ? text.slice(0, -1) : text;
}

/** The first of the matches from which most different terms are within one snippet. */
function densest(found: readonly Match[]): number {
  let best = 0;
  let most = 0;
  for (let first = 0; first < found.length; first++) {
    const reach = found[first]!.start + SNIPPET_LENGTH - BEFORE;
    const seen = new Set<number>();
    for (let at = first; at < found.length && found[at]!.end <= reach; at++) seen.add(found[at]!.term);
    if (seen.size <= most) continue;
    best = first;
    most = seen.size;
  }
  return best;
}

function matchesIn(text: string, terms: readonly Term[]): Match[] {
  const found: Match[] = [];
  const longest = Math.max(...terms.map(({ forms }) => forms.length));
  const window: Word[] = [];
  // The words seen last are where a phrase may end.
  for (const word of wordsOf(text)) {
    window.push(word);
    if (window.length > longest) window.shift();
    terms.forEach((term, index) => {
      const from = window.length - term.forms.length;
      if (from < 0 || !endsHere(window, from, term)) return;
      found.push({ term: index, start: window[from]!.start, end: word.end });
    });
    if (found.length >= MAX_MATCHES) break;
  }
  return found.sort((a, b) => a.start - b.start);
}

function endsHere(window: readonly Word[], from: number, { forms, prefix }: Term): boolean {
  return forms.every((form, index) => {
    const { form: there } = window[from + index]!;
    return prefix && index === forms.length - 1 ? there.startsWith(form) : there === form;
  });
}
