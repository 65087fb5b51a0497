// Measures one run through the whole path beside a bare local spawn of the same command, taken in turns in one process,
// so that whatever else the machine does hits both. Prints a table, or JSON with --json.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { values } = (await import("node:util")).parseArgs({
  options: { json: { type: "boolean" }, runs: { type: "string", default: "300" } },
});
const RUNS = Number(values.runs);
const WARM_UP = Math.min(30, RUNS);
const COMMAND = "echo hi";
const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");

const folder = await mkdtemp(join(tmpdir(), "cerver-bench-"));
const up = spawn(process.execPath, [BIN, "up", "--json", "--port", "0", "--no-open"], {
  env: { PATH: process.env.PATH, HOME: folder, CI: "1" },
  stdio: ["ignore", "pipe", "inherit"],
});
try {
  const ready = JSON.parse(await firstLine(up.stdout!)) as { gateway_url: string; api_token: string };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = (path: string, body: object) =>
    new Promise<any>((resolve, reject) => {
      const data = JSON.stringify(body);
      const call = request(
        ready.gateway_url + path,
        {
          method: "POST",
          agent,
          headers: {
            authorization: `Bearer ${ready.api_token}`,
            "content-type": "application/json",
            "content-length": Buffer.byteLength(data),
          },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk) => (text += chunk));
          response.on("end", () => resolve(JSON.parse(text)));
        },
      );
      call.on("error", reject);
      call.end(data);
    });
  const { session_id } = await post("/v2/sessions", { task: "bench" });

  const ours = async () => {
    const answer = await post(`/v2/sessions/${session_id}/run`, { code: COMMAND });
    if (answer.result?.stdout !== "hi\n") throw new Error(JSON.stringify(answer));
  };
  const bare = () =>
    new Promise<void>((resolve, reject) => {
      const child = spawn("/bin/sh", ["-c", COMMAND], { stdio: ["ignore", "pipe", "pipe"] });
      let text = "";
      child.stdout.on("data", (chunk) => (text += chunk));
      child.on("error", reject);
      child.on("close", () => (text === "hi\n" ? resolve() : reject(new Error(text))));
    });

  const times: Record<"ours" | "bare", number[]> = { ours: [], bare: [] };
  for (let i = -WARM_UP; i < RUNS; i++) {
    for (const [name, once] of [
      ["ours", ours],
      ["bare", bare],
    ] as const) {
      const began = performance.now();
      await once();
      if (i >= 0) times[name].push(performance.now() - began);
    }
  }
  agent.destroy();
  print(times);
} finally {
  up.kill("SIGTERM");
  await new Promise((resolve) => up.once("exit", resolve));
  await rm(folder, { recursive: true, force: true });
}

function print({ ours, bare }: Record<"ours" | "bare", number[]>): void {
  const rows = [
    { what: "a run through cerver", p50_ms: quantile(ours, 0.5), p95_ms: quantile(ours, 0.95) },
    { what: "a bare local spawn", p50_ms: quantile(bare, 0.5), p95_ms: quantile(bare, 0.95) },
  ];
  const ratio = rows[0]!.p50_ms / rows[1]!.p50_ms;
  if (values.json) {
    console.log(
      JSON.stringify({ command: COMMAND, runs: RUNS, node: process.version, rows, ratio_p50: ratio }),
    );
    return;
  }
  console.log(`\`${COMMAND}\`, ${RUNS} of each in turns, Node ${process.version}\n`);
  console.log(`${"".padEnd(24)}${"p50".padStart(10)}${"p95".padStart(10)}`);
  for (const { what, p50_ms, p95_ms } of rows) {
    console.log(
      `${what.padEnd(24)}${`${p50_ms.toFixed(2)} ms`.padStart(10)}${`${p95_ms.toFixed(2)} ms`.padStart(10)}`,
    );
  }
  console.log(`\nratio of the p50s: ${ratio.toFixed(2)}`);
}

function quantile(values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text.slice(0, text.indexOf("\n"));
}
