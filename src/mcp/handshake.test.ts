import { PassThrough } from "node:stream";
import { StdioServerTransport, serveStdio } from "@modelcontextprotocol/server/stdio";
import { describe, expect, test } from "vitest";
import { answerHandshake, handshakeAnswer } from "./handshake.js";
import { createMcpServer } from "./server.js";

const initialize = (params: object, id: unknown = 1) =>
  JSON.stringify({ jsonrpc: "2.0", id, method: "initialize", params });
const WELL = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } };

/** What the library itself answers to a line. */
async function librarysAnswer(line: string): Promise<unknown> {
  const [stdin, stdout] = [new PassThrough(), new PassThrough()];
  const client = () => Promise.reject(new Error("nobody calls"));
  const server = serveStdio(() => createMcpServer({ client }), {
    transport: new StdioServerTransport(stdin, stdout),
  });
  stdin.write(`${line}\n`);
  const answer = await new Promise<string>((resolve) =>
    stdout.once("data", (chunk) => resolve(String(chunk))),
  );
  await server.close();
  return JSON.parse(answer);
}

describe("the answer to a handshake", () => {
  test.each([
    ["2025-11-25"],
    ["2025-06-18"],
    ["2025-03-26"],
    ["2024-11-05"],
    ["2024-10-07"],
    ["2026-07-28"],
    ["1999-01-01"],
    [""],
  ])("is the library's own, for a client of %s", async (protocolVersion) => {
    for (const id of [0, 7, "an-id"]) {
      const line = initialize({ ...WELL, protocolVersion }, id);
      expect(handshakeAnswer(line)).toEqual(await librarysAnswer(line));
    }
  });

  test.each([
    ["no JSON", "{"],
    ["another method", '{"jsonrpc":"2.0","id":1,"method":"ping"}'],
    ["a notification", '{"jsonrpc":"2.0","method":"initialize","params":{}}'],
    ["no client", initialize({ protocolVersion: "2025-11-25", capabilities: {} })],
    ["no capabilities", initialize({ ...WELL, capabilities: null })],
    ["a version that is no text", initialize({ ...WELL, protocolVersion: 3 })],
    ["an id that is none", initialize(WELL, null)],
    ["a batch", `[${initialize(WELL)}]`],
  ])("is left to the library for %s", (_, line) => {
    expect(handshakeAnswer(line)).toBeUndefined();
  });

  test("leaves everything that was read for the library, however it came in", async () => {
    const text = `${initialize(WELL)}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n{"half`;
    for (const cut of [1, 40, text.indexOf("\n"), text.indexOf("\n") + 1, text.length - 1]) {
      const [stdin, stdout] = [new PassThrough(), new PassThrough()];
      const answered = answerHandshake(stdin, stdout);
      stdin.write(text.slice(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      stdin.end(text.slice(cut));
      expect(await answered).toBe(1);
      expect(String(stdout.read())).toMatch(/^\{"result":.*\}\n$/);
      let rest = "";
      for await (const chunk of stdin) rest += chunk;
      expect(rest).toBe(text);
    }
  });

  test.each([[""], ['{"jsonrpc":"2.0","id":1,"method":"init'], [initialize(WELL)]])(
    "is none when the input ends within its first line: %j",
    async (begun) => {
      const [stdin, stdout] = [new PassThrough(), new PassThrough()];
      stdin.on("error", (error) => expect.fail(error.message));
      const answered = answerHandshake(stdin, stdout);
      stdin.end(begun);
      expect(await answered).toBeUndefined();
      expect(stdout.read()).toBeNull();
    },
  );
});
