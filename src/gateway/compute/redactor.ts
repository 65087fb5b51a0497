/** Shorter values cannot be told from ordinary text, so they are not looked for. */
export const SHORTEST_SECRET = 4;
/** As many values as are looked for. Beyond that nothing counts as clean. */
const MAX_SECRETS = 2_000;
/** From this length on a value is a secret wherever it stands, in a field's name as well. */
const SHORTEST_SURE = 8;
/** A shorter part of an encoded value would be found where it is not. */
const SHORTEST_ENCODED = 8;

/** Fields that hold words of ours, and no text from elsewhere. */
const OUR_WORDS = new Set([
  "type",
  "status",
  "code",
  "encoding",
  "stdout_encoding",
  "stderr_encoding",
  "runtime",
  "end_reason",
  "signal",
  "provider",
]);

/**
 * Takes secrets out of what was answered: each of their bytes becomes a `*`, so that lengths and offsets stay true.
 *
 * They are found as they are, in JSON, in a URL, in hex and in base64; in streams also where one is cut in two.
 */
export class Redactor {
  /** Bytes of the needles as latin1, the longest first. */
  #needles: string[] = [];
  readonly #known = new Set<string>();
  #isFull = false;
  #masked = 0;

  constructor(secrets: Iterable<string> = []) {
    this.add(secrets);
  }

  /** How many values are looked for. */
  get size(): number {
    return this.#known.size;
  }

  /** How many times one was found. */
  get masked(): number {
    return this.#masked;
  }

  add(secrets: Iterable<string>): void {
    let isNew = false;
    for (const secret of secrets) {
      if (secret.length < SHORTEST_SECRET || this.#known.has(secret)) continue;
      if (this.#known.size >= MAX_SECRETS) {
        this.#isFull = true;
        return;
      }
      this.#known.add(secret);
      this.#needles.push(...formsOf(secret));
      isNew = true;
    }
    if (isNew) this.#needles = [...new Set(this.#needles)].sort((a, b) => b.length - a.length);
  }

  /**
   * Whether a secret is still in there. True as well when there were more secrets than can be looked for. Short ones, such
   * as "true", may stand for something else there.
   */
  holds(text: string): boolean {
    if (this.#isFull) return true;
    const bytes = Buffer.from(text).toString("latin1");
    return this.#needles.some((needle) => needle.length >= SHORTEST_SURE && bytes.includes(needle));
  }

  text(text: string): string {
    const bytes = Buffer.from(text);
    const masked = this.bytes(bytes);
    return masked === bytes ? text : masked.toString();
  }

  /** The same buffer when there is nothing in it. */
  bytes(bytes: Buffer): Buffer {
    const before = bytes.toString("latin1");
    let after = before;
    for (const needle of this.#needles) {
      if (!after.includes(needle)) continue;
      const pieces = after.split(needle);
      this.#masked += pieces.length - 1;
      after = pieces.join("*".repeat(needle.length));
    }
    return after === before ? bytes : Buffer.from(after, "latin1");
  }

  /** Every text in a JSON value, and what is base64 in it by its neighbour's word. */
  value<T>(value: T): T {
    return this.#walk(value, 0) as T;
  }

  /** Server-sent run events: a secret may begin in one and end in another. */
  events(frames: readonly string[]): string[] {
    const read = frames.map(readFrame);
    for (const stream of ["stdout", "stderr"]) {
      const pieces = read.flatMap((frame) =>
        frame?.event.type === stream && typeof frame.event.data === "string"
          ? [{ frame, bytes: Buffer.from(frame.event.data, encodingOf(frame.event.encoding)) }]
          : [],
      );
      const all = Buffer.concat(pieces.map(({ bytes }) => bytes));
      const masked = this.bytes(all);
      if (masked === all) continue;
      let at = 0;
      for (const { frame, bytes } of pieces) {
        const piece = masked.subarray(at, at + bytes.length);
        at += bytes.length;
        frame.event.data = piece.toString(encodingOf(frame.event.encoding));
        frame.changed = true;
      }
    }
    return read.map((frame, index) => {
      const text = frames[index]!;
      if (!frame) return this.text(text);
      const isOutput = frame.event.type === "stdout" || frame.event.type === "stderr";
      const before = JSON.stringify(frame.event);
      const after = isOutput ? before : JSON.stringify(this.value(frame.event));
      if (!frame.changed && after === before) return text;
      return text.slice(0, frame.from) + after + text.slice(frame.until);
    });
  }

  #walk(value: unknown, depth: number): unknown {
    if (typeof value === "string") return this.text(value);
    if (typeof value !== "object" || value === null || depth > 20) return value;
    if (Array.isArray(value)) return value.map((one) => this.#walk(one, depth + 1));
    const fields = value as Record<string, unknown>;
    return Object.fromEntries(
      Object.entries(fields).map(([name, field]) => {
        if (OUR_WORDS.has(name) && typeof field === "string") return [name, field];
        const encoding = fields[`${name}_encoding`] ?? (name === "content" ? fields.encoding : undefined);
        if (encoding === "base64" && typeof field === "string")
          return [name, this.bytes(Buffer.from(field, "base64")).toString("base64")];
        return [this.text(name), this.#walk(field, depth + 1)];
      }),
    );
  }
}

interface Frame {
  event: Record<string, unknown>;
  /** Where its JSON is in the frame. */
  from: number;
  until: number;
  changed?: boolean;
}

function readFrame(text: string): Frame | undefined {
  const found = /^data: (.*)$/m.exec(text);
  if (!found) return undefined;
  try {
    const event: unknown = JSON.parse(found[1]!);
    if (typeof event !== "object" || event === null || Array.isArray(event)) return undefined;
    const from = found.index + "data: ".length;
    return { event: event as Record<string, unknown>, from, until: from + found[1]!.length };
  } catch {
    return undefined;
  }
}

function encodingOf(word: unknown): "base64" | "utf8" {
  return word === "base64" ? "base64" : "utf8";
}

/** How a value looks where it is written down, as bytes. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const forms = [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(bytes.toString())];
  const encoded = [bytes.toString("hex"), ...base64Of(bytes)].filter(
    ({ length }) => length >= SHORTEST_ENCODED,
  );
  return [...forms, ...encoded, ...encoded.map(urlSafe)].map((form) => Buffer.from(form).toString("latin1"));
}

/** The letters of a value in base64 that are the same whatever stands before and after it. */
function base64Of(bytes: Buffer): string[] {
  return [0, 1, 2].map((before) => {
    const all = Buffer.concat([Buffer.alloc(before), bytes]);
    return all.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((all.length * 8) / 6));
  });
}

function urlSafe(base64: string): string {
  return base64.replaceAll("+", "-").replaceAll("/", "_");
}
