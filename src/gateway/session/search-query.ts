import { CerverError } from "../../protocol/errors.js";
import type { Term } from "../store/entry-words.js";
import { formsOf } from "../store/words.js";

/** More things than this to look for in one query are refused. */
const MAX_TERMS = 32;
/** The shortest beginning of a word that is looked for: shorter ones are in every entry. */
const MIN_PREFIX = 3;

/** What a query text asks for. */
export interface ParsedQuery {
  terms: Term[];
  without: Term[];
}

/**
 * Reads a query: words, `"phrases"`, `-without` and `begin*`. What it returns is words alone, so no notation of a
 * database comes through. Throws `invalid_request` for a text that asks for nothing that can be found.
 */
export function parseQuery(text: string): ParsedQuery {
  if ((text.match(/"/g)?.length ?? 0) % 2 === 1) throw bad("a quotation mark has no other one");
  const terms: Term[] = [];
  const without: Term[] = [];
  for (const [, minus, phrase, word] of text.matchAll(/(-?)(?:"([^"]*)"|([^\s"]+))/g)) {
    const forms = formsOf(phrase ?? word!);
    // Signs alone, such as a lonely dash, are not in the index.
    if (forms.length === 0) continue;
    const prefix = word?.endsWith("*") ?? false;
    if (prefix && forms.at(-1)!.length < MIN_PREFIX)
      throw bad(`"${word}" is too short a beginning of a word: it takes ${MIN_PREFIX} letters`);
    (minus ? without : terms).push({ forms, prefix });
  }
  if (terms.length === 0)
    throw bad(without.length > 0 ? "it only says what not to find" : "there is no word in it");
  if (terms.length + without.length > MAX_TERMS) throw bad(`it has more than ${MAX_TERMS} words`);
  return { terms, without };
}

function bad(why: string): CerverError {
  return new CerverError("invalid_request", `q: ${why}.`, {
    hint: 'Words that all have to be there: ?q=npm test. Also "a phrase", -without and begin*.',
  });
}
