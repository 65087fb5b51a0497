import { Matcher, PatternSet } from "./matcher.js";
import { type NamedSecret, secretPatterns } from "./secret-patterns.js";
import { shapePatterns } from "./token-shapes.js";

/** `all` takes out known secrets and the shapes of credentials, `secrets` known secrets only, `off` nothing. */
export const REDACT_MODES = ["all", "secrets", "off"] as const;
export type RedactMode = (typeof REDACT_MODES)[number];

/** As many values are looked for at once. */
export const MAX_SECRETS = 1_000;
/** Of a secret no more is seen before it is known than what finds it: a prompt that waits for its answer is not held up. */
const SECRET_MAY_BE_SEEN = 3;

let shapes: PatternSet | undefined;

/** What is looked for. One serves many streams, as {@link stream}s. */
export class Redaction {
  readonly #sets: PatternSet[] = [];

  constructor(mode: RedactMode = "all", secrets: readonly NamedSecret[] = []) {
    if (mode === "off") return;
    const longestFirst = [...secrets].sort((a, b) => b.value.length - a.value.length).slice(0, MAX_SECRETS);
    const patterns = longestFirst.flatMap(secretPatterns);
    // Known secrets come first: a shape inside of one must not leave a part of it.
    if (patterns.length > 0) this.#sets.push(new PatternSet(patterns, SECRET_MAY_BE_SEEN));
    if (mode !== "all") return;
    shapes ??= new PatternSet(shapePatterns(), Number.POSITIVE_INFINITY);
    this.#sets.push(shapes);
  }

  /** Whether nothing is looked for. */
  get isOff(): boolean {
    return this.#sets.length === 0;
  }

  stream(): Redactor {
    return new Redactor(this.#sets.map((set) => new Matcher(set)));
  }

  /** A text without what was looked for, and how many there were of it. */
  text(text: string): { text: string; redacted: number } {
    const redactor = this.stream();
    const bytes = Buffer.concat([redactor.push(Buffer.from(text)), redactor.end()]);
    // Text that holds nothing stays as it is, half characters included.
    return redactor.found === 0
      ? { text, redacted: 0 }
      : { text: bytes.toString(), redacted: redactor.found };
  }
}

/** One stream of bytes without secrets: each is replaced by `[redacted:NAME]`. */
export class Redactor {
  readonly #matchers: readonly Matcher[];

  constructor(matchers: readonly Matcher[]) {
    this.#matchers = matchers;
  }

  /** How many were taken out. */
  get found(): number {
    return this.#matchers.reduce((sum, { found }) => sum + found, 0);
  }

  /** What may go on. What may be the beginning of a secret waits for the next chunk, for {@link flush} or {@link end}. */
  push(chunk: Buffer): Buffer {
    let bytes = chunk;
    for (const matcher of this.#matchers) bytes = matcher.push(bytes);
    return bytes;
  }

  /** Whether {@link flush} has something. */
  get isHolding(): boolean {
    return this.#matchers.some(({ isHolding }) => isHolding);
  }

  /** Of what waits, what tells nothing so far, so that somebody who waits for it sees it. */
  flush(): Buffer {
    let bytes: Buffer = Buffer.alloc(0);
    for (const matcher of this.#matchers) bytes = Buffer.concat([matcher.push(bytes), matcher.flush()]);
    return bytes;
  }

  /** All that waits. The stream is over. */
  end(): Buffer {
    let bytes: Buffer = Buffer.alloc(0);
    for (const matcher of this.#matchers) bytes = Buffer.concat([matcher.push(bytes), matcher.end()]);
    return bytes;
  }
}

/** Takes the shapes of credentials out of a text: what is done where no secret is known. */
export function redactText(text: string): { text: string; redacted: number } {
  everywhere ??= new Redaction("all");
  return everywhere.text(text);
}
let everywhere: Redaction | undefined;

/** The same for every text in a value, which becomes JSON. */
export function redactedJson(value: unknown): { text: string; redacted: number } {
  let redacted = 0;
  const text = JSON.stringify(value, (_, one: unknown) => {
    if (typeof one !== "string") return one;
    const clean = redactText(one);
    redacted += clean.redacted;
    return clean.text;
  });
  return { text, redacted };
}
