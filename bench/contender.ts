/** What is run, in the words of each contender. */
export interface Command {
  name: string;
  /** For a spawn: the file and its arguments. */
  argv: readonly [string, ...string[]];
  /** For what takes a line of shell. */
  shell: string;
  /** For cerver: the body of a run. */
  run: { code: string; runtime?: "node" };
  prints: string;
}

/** Runs a command once, to its end, and checks what it printed. One at a time. */
export type Lane = () => Promise<void>;

/** One way to run commands. */
export interface Contender {
  /** As many lanes as are to run beside each other. */
  lanes(command: Command, count: number): Promise<Lane[]>;
  /** Reads what `cat` of a file prints; gives the number of bytes. */
  cat(file: string): Promise<number>;
}

/** A contender that cannot take part, with the word for its column and the reason for a note. */
export class Absent {
  constructor(
    readonly word: string,
    readonly why?: string,
  ) {}
}

export function check(command: Command, printed: string): void {
  if (printed !== command.prints) {
    throw new Error(
      `${command.name} printed ${JSON.stringify(printed)}, not ${JSON.stringify(command.prints)}`,
    );
  }
}
