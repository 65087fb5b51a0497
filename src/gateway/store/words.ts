/** Longer words are cut to this, in the index and in queries alike. */
const MAX_WORD_LENGTH = 64;
/** So many words at each end of an entry are searchable: what PostgreSQL keeps positions for (16,383), and no more anywhere. */
const MAX_WORDS_AT_AN_END = 8_000;

/** A word of a text: its form for comparison, and where it stands, in UTF-16 units. */
export interface Word {
  form: string;
  start: number;
  end: number;
}

/**
 * The words of a text, in order. One tokenizer for both databases, and for queries, so that all find the same: letters
 * and digits, in any case, without accents; scripts without spaces a sign at a time.
 */
export function* wordsOf(text: string): Generator<Word> {
  for (const { 0: found, index } of text.matchAll(WORD)) {
    const form = formOf(found);
    if (form !== "") yield { form, start: index, end: index + found.length };
  }
}
const SIGN = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}";
const WORD = new RegExp(`[${SIGN}]|(?:(?![${SIGN}])[\\p{L}\\p{N}\\p{M}])+`, "gu");

/** The forms of a text's words, for the index: all of them, or the ends of a text that has too many. */
export function formsOf(text: string): string[] {
  const forms: string[] = isAscii(text)
    ? (text.toLowerCase().match(/[a-z0-9]+/g) ?? []).map(cut)
    : Array.from(wordsOf(text), ({ form }) => form);
  if (forms.length <= 2 * MAX_WORDS_AT_AN_END) return forms;
  return [...forms.slice(0, MAX_WORDS_AT_AN_END), ...forms.slice(-MAX_WORDS_AT_AN_END)];
}

function formOf(word: string): string {
  if (isAscii(word)) return cut(word.toLowerCase());
  const plain = word
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .toLowerCase();
  return cut(plain.replace(/[^\p{L}\p{N}\p{M}]/gu, ""));
}

function cut(form: string): string {
  if (form.length <= MAX_WORD_LENGTH) return form;
  const end = /[\ud800-\udbff]/.test(form[MAX_WORD_LENGTH - 1]!) ? MAX_WORD_LENGTH - 1 : MAX_WORD_LENGTH;
  return form.slice(0, end);
}

function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
  return !/[^\u0000-\u007f]/.test(text);
}
