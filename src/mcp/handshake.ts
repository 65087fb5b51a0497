import type { Readable, Writable } from "node:stream";
import { CAPABILITIES, HANDSHAKE_VERSIONS, INSTRUCTIONS, SERVER_INFO } from "./server-facts.js";

/** What is read while a first line has no end; after that the library may say what it thinks of it. */
const MAX_FIRST_LINE_BYTES = 1024 * 1024;

/** A request of a JSON-RPC peer, by its id. */
export type RequestId = string | number;

/**
 * Answers a client's `initialize` before the MCP library is loaded, which takes several times as long as all the rest of
 * the start. The answer is the library's own, word for word. Whatever was read is put back for the library, which then
 * gets to know the client by the same message.
 *
 * @returns the id of the request that was answered, whose second answer nobody is to see; undefined when the client opened
 * with anything else.
 */
export async function answerHandshake(stdin: Readable, stdout: Writable): Promise<RequestId | undefined> {
  const read = await firstLine(stdin);
  const end = read.indexOf(0x0a);
  const answer = end === -1 ? undefined : handshakeAnswer(read.subarray(0, end).toString("utf8"));
  if (answer) stdout.write(`${JSON.stringify(answer)}\n`);
  // Input that is over has no line that anybody could still answer.
  if (read.length > 0 && !stdin.readableEnded) stdin.unshift(read);
  return answer?.id;
}

/** The answer to a line that is a well-formed `initialize`. */
export function handshakeAnswer(line: string) {
  const { jsonrpc, id, method, params } = fieldsOf(parse(line));
  if (jsonrpc !== "2.0" || method !== "initialize" || !isId(id)) return undefined;
  const { protocolVersion, capabilities, clientInfo } = fieldsOf(params);
  if (typeof protocolVersion !== "string" || typeof capabilities !== "object" || capabilities === null)
    return undefined;
  const { name, version } = fieldsOf(clientInfo);
  if (typeof name !== "string" || typeof version !== "string") return undefined;
  return {
    result: {
      protocolVersion: HANDSHAKE_VERSIONS.includes(protocolVersion)
        ? protocolVersion
        : HANDSHAKE_VERSIONS[0]!,
      capabilities: CAPABILITIES,
      serverInfo: SERVER_INFO,
      instructions: INSTRUCTIONS,
    },
    jsonrpc: "2.0",
    id,
  };
}

/** Everything up to the end of the first line, or of the input. The stream is paused then. */
function firstLine(stdin: Readable): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const done = () => {
      stdin.off("data", onData).off("end", done).off("error", done);
      stdin.pause();
      resolve(Buffer.concat(chunks));
    };
    const onData = (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (chunk.includes(0x0a) || length > MAX_FIRST_LINE_BYTES) done();
    };
    stdin.on("data", onData).on("end", done).on("error", done);
  });
}

function isId(id: unknown): id is RequestId {
  return typeof id === "string" || Number.isInteger(id);
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
