import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import {
  type CassetteCall,
  CassetteHeader,
  CassetteLine,
  type CassetteOperation,
  COMPUTE_MARK,
  MAX_CASSETTE_BYTES,
  MAX_CASSETTE_CALLS,
  RUN_MARK,
  SANDBOX_MARK,
} from "../../protocol/cassette.js";
import { CerverError } from "../../protocol/errors.js";
import { parse } from "../../protocol/parse.js";
import type { InstallRequest, SandboxRunRequest, WriteFileRequest } from "../../protocol/sandbox.js";

/** A cassette that was read. */
export interface Cassette {
  readonly header: CassetteHeader;
  /** In the order in which they began. */
  readonly calls: readonly CassetteCall[];
  /** The numbers of the creates whose answer was lost, though they made a sandbox. */
  readonly lost: ReadonlySet<number>;
  readonly durationMs: number;
}

/** Reads a cassette. Throws `invalid_request` that names the line, or what makes it too large. */
export function readCassette(text: string, name = "The cassette"): Cassette {
  if (Buffer.byteLength(text) > MAX_CASSETTE_BYTES) throw tooLarge(name, `${MAX_CASSETTE_BYTES} bytes`);
  const lines = text.split("\n");
  const header = parse(CassetteHeader, json(lines[0] ?? "", name, 1));
  const calls: CassetteCall[] = [];
  const lost = new Set<number>();
  for (const [index, line] of lines.entries()) {
    if (index === 0 || line.trim() === "") continue;
    const found = CassetteLine.safeParse(json(line, name, index + 1));
    if (!found.success || found.data.kind === "cassette")
      throw notALine(name, index + 1, found.error?.issues[0]);
    if (found.data.kind === "found") lost.add(found.data.call);
    else calls.push(found.data);
    if (calls.length > MAX_CASSETTE_CALLS) throw tooLarge(name, `${MAX_CASSETTE_CALLS} calls`);
  }
  calls.sort((a, b) => a.at_ms - b.at_ms || a.n - b.n);
  const end = calls.reduce((last, { at_ms, took_ms }) => Math.max(last, at_ms + took_ms), 1);
  return { header, calls, lost, durationMs: Math.max(header.clock.duration_ms ?? end, 1) };
}

/** Reads a cassette's file. Throws `invalid_request` when there is none, or it is not a cassette. */
export async function loadCassette(path: string): Promise<Cassette> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new CerverError(
      "invalid_request",
      `The cassette ${path} cannot be read: ${error.code ?? error.message}.`,
      {
        hint: "Record one with `cerver provider record NAME --out FILE`.",
        cause: error,
      },
    );
  });
  try {
    const { size } = await file.stat();
    if (size > MAX_CASSETTE_BYTES) throw tooLarge(path, `${MAX_CASSETTE_BYTES} bytes`);
    return readCassette(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/** What is asked of a provider, as far as it makes a difference to the answer. */
export type Question =
  | { operation: "runSandbox" | "runSandboxStream"; request: SandboxRunRequest }
  | { operation: "installPackage"; request: InstallRequest }
  | { operation: "writeFile"; request: WriteFileRequest }
  | { operation: "readFile"; path: string; encoding: string }
  | { operation: "setState"; state: Record<string, unknown> }
  | { operation: "cloud.portUrl"; port: number }
  | {
      operation: Exclude<
        CassetteOperation,
        | "runSandbox"
        | "runSandboxStream"
        | "installPackage"
        | "writeFile"
        | "readFile"
        | "setState"
        | "cloud.portUrl"
      >;
    };

/**
 * The key of a question, and the question for people.
 *
 * `put` takes out of every text what is another each time, and what is nobody's business. Limits of time, ids, metadata
 * and the values of variables are no part of a key.
 */
export function keyOf(question: Question, put: (text: string) => string): { key: string; asked?: string } {
  const { asked, parts } = partsOf(question);
  // A command has one key, whether it is streamed or not.
  const hash = createHash("sha256").update(question.operation.replace(/Stream$/, ""));
  for (const part of parts) hash.update(`\0${part === undefined ? "" : put(part)}`);
  return { key: hash.digest("hex").slice(0, 32), ...(asked !== undefined && { asked: put(asked) }) };
}

/** Ids as marks. */
export interface Ids {
  sandboxId?: string | undefined;
  runId?: string | undefined;
  computeId?: string | undefined;
}

/** A text with marks where these ids stand. */
export function marked(text: string, { sandboxId, runId, computeId }: Ids): string {
  let put = text;
  if (sandboxId) put = put.replaceAll(sandboxId, SANDBOX_MARK);
  if (runId) put = put.replaceAll(runId, RUN_MARK);
  if (computeId) put = put.replaceAll(computeId, COMPUTE_MARK);
  return put;
}

/** A text with these ids where marks stand. */
export function unmarked(text: string, { sandboxId, runId, computeId }: Ids): string {
  if (!text.includes("{{")) return text;
  return text
    .replaceAll(SANDBOX_MARK, () => sandboxId ?? SANDBOX_MARK)
    .replaceAll(RUN_MARK, () => runId ?? RUN_MARK)
    .replaceAll(COMPUTE_MARK, () => computeId ?? COMPUTE_MARK);
}

function partsOf(question: Question): { asked?: string; parts: (string | undefined)[] } {
  switch (question.operation) {
    case "runSandbox":
    case "runSandboxStream": {
      const { code, runtime, cwd, stdin, stdin_open, envs = {} } = question.request;
      const names = Object.keys(envs).sort().join(",");
      return { asked: code, parts: [code, runtime, cwd, stdin, stdin_open ? "open" : "", names] };
    }
    case "installPackage": {
      const { manager, package: name } = question.request;
      return { asked: `${manager} ${name}`, parts: [manager, name] };
    }
    case "writeFile": {
      const { path, content, encoding } = question.request;
      return { asked: path, parts: [path, encoding, content] };
    }
    case "readFile":
      return { asked: question.path, parts: [question.path, question.encoding] };
    case "setState":
      return { parts: [JSON.stringify(question.state)] };
    case "cloud.portUrl":
      return { asked: `port ${question.port}`, parts: [String(question.port)] };
    default:
      return { parts: [] };
  }
}

function json(line: string, name: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw notALine(name, number);
  }
}

function notALine(
  name: string,
  number: number,
  issue?: { path: PropertyKey[]; message: string },
): CerverError {
  const what = issue ? ` (${issue.path.map(String).join(".") || "the line"}: ${issue.message})` : "";
  return new CerverError("invalid_request", `${name}: line ${number} is no line of a cassette${what}.`, {
    hint: "docs/rehearsal.md describes the format.",
  });
}

function tooLarge(name: string, bound: string): CerverError {
  return new CerverError(
    "invalid_request",
    `${name} is larger than ${bound}, which is the most that is read.`,
    {
      hint: "Record fewer runs, or take lines out.",
    },
  );
}
