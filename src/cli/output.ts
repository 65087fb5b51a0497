import type { Writable } from "node:stream";

/** The one place that writes to a terminal: data on stdout, everything said to people on stderr. */
export class Output {
  readonly colour: boolean;

  constructor(
    readonly stdout: Writable & { isTTY?: boolean },
    readonly stderr: Writable & { isTTY?: boolean },
    env: Record<string, string | undefined>,
  ) {
    this.colour = wantsColour(env, stdout.isTTY === true);
  }

  get isTerminal(): boolean {
    return this.stdout.isTTY === true;
  }

  /** A line of data. */
  line(text = ""): void {
    this.stdout.write(`${text}\n`);
  }

  /** A line for the person, which no pipe gets to see. */
  say(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, this.isTerminal ? 2 : undefined));
  }

  /** Columns as wide as their longest cell. Cells come from anywhere, so they are made harmless first. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    const safe = rows.map((row) => row.map(printable));
    const widths = head.map((title, column) =>
      Math.max(title.length, ...safe.map((row) => row[column]!.length)),
    );
    const format = (row: readonly string[]) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]!))).join("  ");
    this.line(this.dim(format(head)));
    for (const row of safe) this.line(format(row));
  }

  bold(text: string): string {
    return this.#style("1", "22", text);
  }
  dim(text: string): string {
    return this.#style("2", "22", text);
  }

  green(text: string): string {
    return this.#style("32", "39", text);
  }
  yellow(text: string): string {
    return this.#style("33", "39", text);
  }
  red(text: string): string {
    return this.#style("31", "39", text);
  }

  #style(on: string, off: string, text: string): string {
    return this.colour ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  }
}

/** NO_COLOR (no-color.org), then FORCE_COLOR, then whether somebody looks at a terminal that can. */
function wantsColour(env: Record<string, string | undefined>, isTerminal: boolean): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR && env.FORCE_COLOR !== "0") return true;
  return isTerminal && env.TERM !== "dumb";
}

/** A text from elsewhere on one line, without what a terminal would obey. */
export function printable(text: string): string {
  return harmless(text).replace(/\s*\n\s*/g, " ");
}

/** A text from elsewhere with its lines, without what a terminal would obey: escapes become visible. */
export function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) =>
    character === "\r" ? "" : `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
