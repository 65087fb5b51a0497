import { join } from "node:path";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";
import { hashOf } from "./formats/format.js";

/** How far one file has been read. */
export interface FileState {
  /** The file as it was when it was read last: device, inode, size and times. */
  stamp: string;
  identity: string;
  offset: number;
  /** Hash of the bytes before `offset`: tells a file that was written anew from one that grew. */
  mark: string;
  lastHash: string;
  repeats: number;
  /** Messages that were sent, by hash, of a file that is written anew at each turn. */
  seen: string[];
  syncIds: string[];
  counts: Counts;
  ignored: boolean;
  /** Its session was removed at the gateway, or does not take entries any more. */
  gone: boolean;
  problem: string | null;
}

export interface Counts {
  entries: number;
  raw: number;
  skipped: number;
}

export interface StateData {
  version: 1;
  gateway: string;
  savedAt: string;
  files: Record<string, FileState>;
  sessions: Record<string, string>;
}

export function newFileState(): FileState {
  return {
    stamp: "",
    identity: "",
    offset: 0,
    mark: "",
    lastHash: "",
    repeats: 0,
    seen: [],
    syncIds: [],
    counts: { entries: 0, raw: 0, skipped: 0 },
    ignored: false,
    gone: false,
    problem: null,
  };
}

/** What sync remembers for one gateway. When it is lost everything is read again, and the gateway knows each entry. */
export class SyncState {
  readonly #path: string;
  readonly data: StateData;

  private constructor(path: string, data: StateData) {
    this.#path = path;
    this.data = data;
  }

  static async open(stateDir: string, gateway: string): Promise<SyncState> {
    const path = join(stateDir, `${hashOf(gateway).slice(0, 16)}.json`);
    const fresh: StateData = { version: 1, gateway, savedAt: "", files: {}, sessions: {} };
    try {
      const stored = JSON.parse((await readPrivateFile(path)) ?? "") as StateData;
      return new SyncState(path, stored.version === 1 && stored.gateway === gateway ? stored : fresh);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return new SyncState(path, fresh);
    }
  }

  /** Leaves out what is not there any more, and replaces the file as a whole. */
  async save(): Promise<void> {
    const used = new Set(Object.values(this.data.files).flatMap(({ syncIds }) => syncIds));
    for (const id of Object.keys(this.data.sessions)) if (!used.has(id)) delete this.data.sessions[id];
    this.data.savedAt = new Date().toISOString();
    await writePrivateFile(this.#path, JSON.stringify(this.data));
  }
}
