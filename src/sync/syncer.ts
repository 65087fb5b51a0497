import { type FileHandle, open, stat } from "node:fs/promises";
import type { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";
import { MAX_ENTRY_LENGTH, type NewTranscriptEntry } from "../protocol/transcript.js";
import type { SyncConfig } from "./config.js";
import {
  type Facts,
  hashOf,
  MAX_RAW_LENGTH,
  mergeFacts,
  object,
  type Parsed,
  rawLine,
  type SourceEntry,
  type Tool,
} from "./formats/format.js";
import { parseGemini } from "./formats/gemini.js";
import { isIgnored } from "./ignore.js";
import { leaves, valueLeaves } from "./leaves.js";
import { finishedLines, type Line } from "./lines.js";
import { sessionFor, syncIdOf } from "./session-target.js";
import { findSources, LINE_PARSERS, type SourceFile } from "./sources.js";
import { type FileState, newFileState, type SyncState } from "./state.js";

/** One append carries so many entries at most, and so many characters. */
const BATCH_ENTRIES = 200;
const BATCH_LENGTH = 4_000_000;
/** What a file says of its session is looked for in its beginning. */
const HEAD_BYTES = 1024 * 1024;
const MAX_INPUT_LENGTH = 256_000;
/** A file that is one JSON value is read whole. */
const MAX_WHOLE_BYTES = 64 * 1024 * 1024;
/** A session whose first prompt has not been written yet is given so many milliseconds for its name. */
const NAME_WAIT_MS = 5_000;
const MARK_BYTES = 256;

export interface SyncerDeps {
  config: SyncConfig;
  state: SyncState;
  /** Undefined for a dry run: files are read, nothing is sent and nothing kept. */
  client: GatewayClient | undefined;
  signal: AbortSignal;
}

/** What one pass over the files did. */
export interface PassReport {
  files: number;
  changed: number;
  sessions: number;
  entries: number;
  raw: number;
  skipped: number;
  ignored: number;
  problems: { path: string; problem: string }[];
}

interface Head {
  sessionId: string;
  facts: Facts;
}

/** Reads what is new in the transcript files, and appends it to their sessions. */
export class Syncer {
  readonly #deps: SyncerDeps;

  constructor(deps: SyncerDeps) {
    this.#deps = deps;
  }

  /** Looks at all files once, and opens those that have changed. Fails when the gateway does; what was sent is kept. */
  async pass(): Promise<PassReport> {
    const { config, state, client, signal } = this.#deps;
    const sources = await findSources(config);
    const report = {
      files: sources.length,
      changed: 0,
      sessions: 0,
      entries: 0,
      raw: 0,
      skipped: 0,
      ignored: 0,
    };
    const touched = new Set<string>();
    const before = JSON.stringify(state.data.files).length;
    try {
      for (const source of sources) {
        signal.throwIfAborted();
        const file = state.data.files[source.path] ?? newFileState();
        state.data.files[source.path] = file;
        const counted = { ...file.counts };
        if (await this.#look(source, file)) {
          report.changed++;
          for (const id of file.syncIds) touched.add(id);
        }
        report.entries += file.counts.entries - counted.entries;
        report.raw += file.counts.raw - counted.raw;
        report.skipped += file.counts.skipped - counted.skipped;
        if (file.ignored) report.ignored++;
      }
      const there = new Set(sources.map(({ path }) => path));
      for (const path of Object.keys(state.data.files)) if (!there.has(path)) delete state.data.files[path];
    } finally {
      if (client && (report.changed > 0 || JSON.stringify(state.data.files).length !== before))
        await state.save();
    }
    const problems = Object.entries(state.data.files).flatMap(([path, { problem }]) =>
      problem === null ? [] : [{ path, problem }],
    );
    return { ...report, sessions: touched.size, problems };
  }

  /** Whether there was something new in a file. */
  async #look(source: SourceFile, file: FileState): Promise<boolean> {
    let stamp = "";
    try {
      const { dev, ino, size, mtimeMs, ctimeMs, birthtimeMs } = await stat(source.path);
      stamp = [dev, ino, size, mtimeMs, ctimeMs].join(":");
      if (file.gone || (stamp === file.stamp && !file.ignored)) return false;
      const identity = [dev, ino, birthtimeMs].join(":");
      const handle = await open(source.path, "r");
      try {
        file.problem = null;
        if (identity !== file.identity || !(await isSameUpTo(handle, size, file))) startOver(file);
        file.identity = identity;
        const done =
          source.tool === "gemini"
            ? await this.#readWhole(source, file, handle, size)
            : await this.#readLines(source, file, handle, size, Date.now() - mtimeMs);
        if (done) file.stamp = stamp;
        return done;
      } finally {
        await handle.close();
      }
    } catch (error) {
      return this.#failed(file, stamp, error);
    }
  }

  /** A file that cannot be read or is refused is told of, and tried again when it changes; the gateway's troubles end the pass. */
  #failed(file: FileState, stamp: string, error: unknown): false {
    this.#deps.signal.throwIfAborted();
    if (error instanceof CerverError) {
      if (!["session_not_found", "session_ended", "invalid_request", "too_large"].includes(error.code))
        throw error;
      file.gone = error.code.startsWith("session_");
      file.stamp = stamp;
      file.problem = error.message;
      return false;
    }
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    // It has been moved away; under its new name it is a file of its own.
    if (code !== "ENOENT") file.problem = `It cannot be read (${code}).`;
    return false;
  }

  async #readLines(
    source: SourceFile,
    file: FileState,
    handle: FileHandle,
    size: number,
    quietMs: number,
  ): Promise<boolean> {
    const parse = LINE_PARSERS[source.tool]!;
    const head = await readHead(source, parse, handle, size);
    if (!head) return false;
    if (head.facts.workingDir === undefined) {
      // Whether it may leave is not known yet: a later line may name a folder that has opted out.
      file.problem = "No line of it names its working folder yet, so nothing of it is sent.";
      return false;
    }
    file.ignored = await isIgnored(head.facts.workingDir, source.tool, head.sessionId);
    if (file.ignored) return false;
    const { prompt, title } = head.facts;
    if ((prompt ?? title) === undefined && size < HEAD_BYTES && quietMs < NAME_WAIT_MS && file.offset === 0)
      return false;
    const outbox = new Outbox();
    // What a failed send had read is read again, and has to get the same keys: the file's state moves only with what was sent.
    let { lastHash, repeats } = file;
    for await (const line of finishedLines(handle, file.offset, size)) {
      this.#deps.signal.throwIfAborted();
      repeats = line.hash === lastHash ? repeats + 1 : 0;
      lastHash = line.hash;
      if (line.text.trim() !== "") {
        const parsed = parseLine(parse, line, `${line.hash}:${repeats}`);
        outbox.add(parsed, parsed.agentId ?? source.agentId);
      }
      outbox.end = { offset: line.end, lastHash, repeats };
      if (outbox.isFull) await this.#send(source, file, head, outbox);
    }
    await this.#send(source, file, head, outbox);
    file.mark = await markOf(handle, file.offset);
    return true;
  }

  async #readWhole(source: SourceFile, file: FileState, handle: FileHandle, size: number): Promise<boolean> {
    if (size > MAX_WHOLE_BYTES) {
      file.problem = `It is larger than ${MAX_WHOLE_BYTES / 1024 / 1024} MiB.`;
      return true;
    }
    const messages = parseGemini((await handle.readFile()).toString("utf8"));
    // While it is written it is no JSON. The next look reads it.
    if (!messages) {
      file.problem = "It is not a whole JSON file with messages yet.";
      return false;
    }
    const facts = messages.reduce<Facts>((before, message) => mergeFacts(before, message.facts), {});
    if (facts.sessionId === undefined) return true;
    const head = { sessionId: facts.sessionId, facts };
    // The file names its folder by a hash only, so an opt-out is looked for beside it.
    file.ignored = await isIgnored(source.path.replace(/\/chats\/[^/]*$/, ""), source.tool, head.sessionId);
    if (file.ignored) return false;
    const seen = new Set(file.seen);
    const outbox = new Outbox();
    for (const message of messages) {
      const hash = hashOf(JSON.stringify(message.entries)).slice(0, 16);
      if (seen.has(hash)) continue;
      seen.add(hash);
      outbox.add(message, undefined);
      outbox.seen.push(hash);
      if (outbox.isFull) await this.#send(source, file, head, outbox);
    }
    await this.#send(source, file, head, outbox);
    return true;
  }

  /** Appends what has gathered, and counts it as read after the gateway has it. */
  async #send(source: SourceFile, file: FileState, head: Head, outbox: Outbox): Promise<void> {
    const { client, signal } = this.#deps;
    for (const [agentId, { entries, facts }] of outbox.sessions) {
      const syncId = syncIdOf(source.tool, head.sessionId, agentId);
      if (!file.syncIds.includes(syncId)) file.syncIds.push(syncId);
      if (!client) {
        file.counts.entries += entries.length;
        continue;
      }
      const id = await this.#sessionId(source, head, agentId, facts);
      signal.throwIfAborted();
      file.counts.entries += (await client.appendTranscript(id, entries.map(outgoing))).appended;
    }
    file.counts.raw += outbox.raw;
    file.counts.skipped += outbox.skipped;
    if (outbox.end) Object.assign(file, outbox.end);
    file.seen.push(...outbox.seen);
    outbox.clear();
  }

  async #sessionId(
    { tool, agentId: own }: SourceFile,
    head: Head,
    agentId: string | undefined,
    facts: Facts,
  ): Promise<string> {
    const syncId = syncIdOf(tool, head.sessionId, agentId);
    const known = this.#deps.state.data.sessions[syncId];
    if (known !== undefined) return known;
    const parent =
      agentId !== undefined
        ? syncIdOf(tool, head.sessionId)
        : head.facts.parentId && syncIdOf(tool, head.facts.parentId);
    // A sub-agent may be read before the one that started it: that one is made now, and found when its file is read.
    const parentFacts = { ...head.facts, title: undefined, prompt: undefined };
    const parentSessionId = parent ? await this.#found(tool, parent, parentFacts, undefined) : undefined;
    const ofFile = agentId === undefined || agentId === own;
    const about = ofFile ? head.facts : { ...head.facts, ...facts, title: undefined };
    return this.#found(tool, syncId, about, parentSessionId);
  }

  async #found(
    tool: Tool,
    syncId: string,
    facts: Facts,
    parentSessionId: string | undefined,
  ): Promise<string> {
    const { client, signal, state } = this.#deps;
    const id =
      state.data.sessions[syncId] ??
      (await sessionFor(client!, { syncId, tool, facts, parentSessionId }, signal));
    state.data.sessions[syncId] = id;
    return id;
  }
}

/** What is about to be sent, by sub-agent. */
class Outbox {
  readonly sessions = new Map<string | undefined, { entries: SourceEntry[]; facts: Facts }>();
  seen: string[] = [];
  end: Pick<FileState, "offset" | "lastHash" | "repeats"> | undefined;
  raw = 0;
  skipped = 0;
  #entries = 0;
  #length = 0;

  add({ entries, facts, outcome }: Parsed, agentId: string | undefined): void {
    if (outcome === "raw") this.raw++;
    if (outcome === "skipped") this.skipped++;
    if (entries.length === 0) return;
    const one = this.sessions.get(agentId) ?? { entries: [], facts: {} };
    this.sessions.set(agentId, one);
    one.entries.push(...entries);
    one.facts = mergeFacts(one.facts, facts);
    this.#entries += entries.length;
    for (const { content, tool_input } of entries)
      this.#length += content.length + (tool_input === undefined ? 0 : JSON.stringify(tool_input).length);
  }

  get isFull(): boolean {
    return this.#entries >= BATCH_ENTRIES || this.#length >= BATCH_LENGTH;
  }

  clear(): void {
    this.sessions.clear();
    Object.assign(this, { seen: [], end: undefined, raw: 0, skipped: 0 });
    this.#entries = 0;
    this.#length = 0;
  }
}

function parseLine(parse: (line: string, key: string) => Parsed, line: Line, key: string): Parsed {
  if (line.cut === 0) return parse(line.text, key);
  return rawLine(
    `(a line of ${Buffer.byteLength(line.text) + line.cut} bytes, only its beginning is kept) ${line.text}`,
    key,
  );
}

/** An entry as it goes to the gateway: without what is private, and within the gateway's bounds. */
function outgoing({
  key,
  content,
  tool_input,
  tool_id,
  tool_name,
  ...entry
}: SourceEntry): NewTranscriptEntry {
  const said = leaves(entry.kind === "raw" ? rawLeaves(content) : content);
  const input = boundedInput(valueLeaves(tool_input));
  return {
    ...entry,
    content: said.length > MAX_ENTRY_LENGTH ? `${said.slice(0, MAX_ENTRY_LENGTH - 20)}… (cut by sync)` : said,
    ...(tool_id !== undefined && { tool_id: tool_id.slice(0, 256) }),
    ...(tool_name !== undefined && { tool_name: tool_name.slice(0, 256) }),
    ...(input !== undefined && { tool_input: input }),
    idempotency_key: key.length <= 200 ? key : hashOf(key),
  };
}

/** In JSON a marker may be written with escapes. */
function rawLeaves(line: string): string {
  const value = line.length <= MAX_RAW_LENGTH ? object(line) : undefined;
  return value && JSON.stringify(valueLeaves(value)) !== JSON.stringify(value)
    ? JSON.stringify(valueLeaves(value))
    : line;
}

function boundedInput(value: unknown): unknown {
  const json = JSON.stringify(value);
  return json !== undefined && json.length > MAX_INPUT_LENGTH
    ? `${json.slice(0, MAX_INPUT_LENGTH)}… (cut by sync)`
    : value;
}

/**
 * What the beginning of a file says; undefined while no line of it is finished. The working folder, which decides whether
 * anything leaves this machine, is looked for as far as it takes.
 */
async function readHead(
  { agentId, nameId, tool }: SourceFile,
  parse: (line: string, key: string) => Parsed,
  handle: FileHandle,
  size: number,
): Promise<Head | undefined> {
  let facts: Facts = {};
  let lines = 0;
  for await (const line of finishedLines(handle, 0, size)) {
    lines++;
    const parsed = parse(line.text, line.hash);
    const own = (parsed.agentId === undefined) === (agentId === undefined);
    facts = mergeFacts(facts, own ? parsed.facts : { ...parsed.facts, prompt: undefined, model: undefined });
    if (facts.workingDir === undefined) continue;
    if (line.end >= HEAD_BYTES || (facts.prompt !== undefined && facts.model !== undefined)) break;
  }
  if (lines === 0) return undefined;
  // A resumed session's file begins with lines of the one before it: its own name counts.
  const ownName = tool === "claude-code" && agentId === undefined;
  return { sessionId: ownName ? nameId : (facts.sessionId ?? nameId), facts };
}

function startOver(file: FileState): void {
  Object.assign(file, { offset: 0, mark: "", lastHash: "", repeats: 0, seen: [] });
}

/** Whether the file only grew since it was read. */
async function isSameUpTo(handle: FileHandle, size: number, { offset, mark }: FileState): Promise<boolean> {
  return offset === 0 || (size >= offset && (await markOf(handle, offset)) === mark);
}

async function markOf(handle: FileHandle, offset: number): Promise<string> {
  const first = Buffer.alloc(Math.min(MARK_BYTES, offset));
  const last = Buffer.alloc(first.length);
  await handle.read(first, 0, first.length, 0);
  await handle.read(last, 0, last.length, offset - last.length);
  return hashOf(Buffer.concat([first, last]));
}
