import { spawn } from "node:child_process";
import type { Bench } from "./bench.js";
import { BIN } from "./cerver.js";
import type { Lane } from "./contender.js";
import { environment } from "./environment.js";
import type { Line } from "./table.js";
import { inTurns, quantile, ratioOf } from "./turns.js";

const ROW = "mcp";
const MESSAGES = [
  {
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "bench", version: "1" } },
  },
  { method: "notifications/initialized" },
  { id: 2, method: "tools/list" },
];

/** From the start of `cerver mcp` to its answers, beside a Node that does nothing. No gateway answers it. */
export async function mcpStart(bench: Bench): Promise<Line[]> {
  const rounds = Math.max(5, Math.ceil(bench.options.runs / 10));
  const turns = [
    { name: "bare", once: ended, every: 1 },
    { name: "initialize", once: answered(1), every: 1 },
    { name: "tools/list", once: answered(2), every: 1 },
  ];
  const times = await inTurns(turns, rounds, 2);
  const bare = times.get("bare")!;
  return ["initialize", "tools/list"].map((name) => ({
    row: ROW,
    what: `start to the answer of ${name}, p50`,
    unit: "ms",
    figures: { cerver: quantile(times.get(name)!, 0.5), bare: quantile(bare, 0.5) },
    ratio: ratioOf(times.get(name)!, bare),
    ...(name === "initialize" && { target: "at most 3.0 x bare" }),
  }));
}

function ended(): Promise<void> {
  return new Promise((resolve, reject) => {
    spawn(process.execPath, ["-e", "0"], { env: environment(), stdio: "ignore" })
      .on("error", reject)
      .on("close", () => resolve());
  });
}

/** A client that sends everything at once, and leaves when it has the answer of one request. */
function answered(id: number): Lane {
  return () =>
    new Promise((resolve, reject) => {
      const env = { ...environment(), CERVER_GATEWAY_URL: "http://127.0.0.1:9" };
      const child = spawn(process.execPath, [BIN, "mcp"], { env, stdio: ["pipe", "pipe", "inherit"] });
      let text = "";
      let found = false;
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk;
        if (found || !text.includes(`"id":${id}`) || !text.endsWith("\n")) return;
        found = true;
        resolve();
        child.stdin.end();
      });
      child.on("error", reject);
      child.on("close", () => {
        if (!found) reject(new Error(`cerver mcp ended without an answer to ${id}: ${text}`));
      });
      for (const message of MESSAGES)
        child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    });
}
