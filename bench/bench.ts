import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { bare } from "./bare.js";
import { Cerver } from "./cerver.js";
import { Absent, type Contender } from "./contender.js";
import type { Endings } from "./endings.js";
import { newFolder } from "./folder.js";
import { OpenSsh } from "./openssh.js";
import type { Who } from "./table.js";
import { Websocketd } from "./websocketd.js";

export interface Options {
  short: boolean;
  /** Runs of each command. */
  runs: number;
  /** How long the reader stands still. */
  stopSeconds: number;
  /** How long a relay is watched that has nothing to do. */
  idleSeconds: number;
  /** A data folder that scripts/write-corpus.ts has written, in the place of a small one. */
  corpus: string | undefined;
}

/** What the rows share. Everything in it is started when a row first asks for it. */
export class Bench {
  readonly options: Options;
  readonly endings: Endings;
  readonly #notes = new Set<string>();
  #cerver: Promise<Cerver> | undefined;
  #others: Promise<{ openssh: OpenSsh | Absent; websocketd: Websocketd | Absent }> | undefined;
  #folder: string | undefined;

  constructor(options: Options, endings: Endings) {
    this.options = options;
    this.endings = endings;
  }

  get notes(): string[] {
    return [...this.#notes];
  }

  /** Adds a sentence below the table, once. */
  note(sentence: string): void {
    this.#notes.add(sentence);
  }

  /** The `cerver up` that most rows share. */
  cerver(): Promise<Cerver> {
    this.#cerver ??= Cerver.up(this.endings);
    return this.#cerver;
  }

  async contenders(): Promise<Record<Who, Contender | Absent>> {
    this.#others ??= this.#startOthers();
    return { cerver: await this.cerver(), bare, ...(await this.#others) };
  }

  /** A file of lines as programs log them; with `umlauts`, no line is plain ASCII. */
  textFile({ megabytes, umlauts = false }: { megabytes: number; umlauts?: boolean }): string {
    this.#folder ??= newFolder(this.endings, "text");
    const path = join(this.#folder, `${megabytes}${umlauts ? "-umlauts" : ""}.log`);
    const block = Buffer.alloc(1e6, logLines(umlauts));
    const file = openSync(path, "w");
    for (let i = 0; i < megabytes; i++) writeSync(file, block);
    closeSync(file);
    return path;
  }

  async #startOthers() {
    const openssh = await OpenSsh.start(this.endings);
    const websocketd = await Websocketd.start(this.endings);
    if (openssh instanceof OpenSsh) {
      this.note(
        `OpenSSH: one shared connection is up, each run is an \`ssh\` client over it; its user's shell is ${openssh.shell}.`,
      );
    }
    for (const other of [openssh, websocketd]) if (other instanceof Absent && other.why) this.note(other.why);
    return { openssh, websocketd };
  }
}

function logLines(umlauts: boolean): string {
  const word = umlauts ? "für Käufer" : "for a buyer";
  return Array.from(
    { length: 1000 },
    (_, i) =>
      `2026-01-01T00:00:00.${String(i).padStart(3, "0")}Z INFO "order ${i * 7919}" ${word}: took ${i % 97} ms\n`,
  ).join("");
}
