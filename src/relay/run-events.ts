import type { Readable } from "node:stream";
import type { RunEvent, Runtime } from "../protocol/runs.js";
import { OutputEvents, type OutputPiece } from "./host/output-events.js";
import type { Run } from "./host/run.js";

/** A comment goes out after this long a silence, so that nothing on the way takes the stream for dead. */
const KEEP_ALIVE_MS = 15_000;
/** This much encoded output waits for the reader before the process is held up. */
const HIGH_WATER_BYTES = 128 * 1024;

const KEEP_ALIVE = Buffer.from(": keep-alive\n\n");

/**
 * A run's events as server-sent events (WHATWG HTML, section 9.2): `start` at once, output while it happens, `exit` from
 * the wait status. A reader that stops stops the process; one that leaves ends it.
 */
export function runEventStream(run: Run, runtime: Runtime, cwd: string): ReadableStream<Uint8Array> {
  let sequence = 0;
  let timer: NodeJS.Timeout | undefined;
  let cancelled = false;
  const pipes: Record<"stdout" | "stderr", Readable> = { stdout: run.stdout, stderr: run.stderr };
  const bytes = { stdout: 0, stderr: 0 };

  const encode = (event: RunEvent) =>
    Buffer.from(`id: ${++sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const send = (event: RunEvent) => {
          if (cancelled) return;
          timer?.refresh();
          controller.enqueue(encode(event));
          if ((controller.desiredSize ?? 0) > 0) return;
          for (const pipe of Object.values(pipes)) pipe.pause();
        };
        timer = setInterval(() => {
          if (!cancelled && (controller.desiredSize ?? 0) > 0) controller.enqueue(KEEP_ALIVE);
        }, KEEP_ALIVE_MS);
        send({ type: "start", run_id: run.id, runtime, pid: run.pid, cwd });
        const drained = Promise.all(
          (["stdout", "stderr"] as const).map(
            (name) =>
              new Promise<void>((resolve) => {
                const output = new OutputEvents();
                const piece = (found: OutputPiece | undefined) => found && send({ type: name, ...found });
                pipes[name].on("data", (chunk: Buffer) => {
                  bytes[name] += chunk.length;
                  piece(output.push(chunk));
                });
                pipes[name].once("close", () => {
                  piece(output.end());
                  resolve();
                });
              }),
          ),
        );
        void Promise.all([run.ended, drained]).then(([end]) => {
          clearInterval(timer);
          if (cancelled) return;
          send({
            type: "exit",
            run_id: run.id,
            status: end.status,
            exit_code: end.exitCode,
            signal: end.signal,
            duration_ms: Math.round(end.durationMs * 1000) / 1000,
            stdout_bytes: bytes.stdout,
            stderr_bytes: bytes.stderr,
          });
          controller.close();
        });
      },
      pull() {
        for (const pipe of Object.values(pipes)) if (pipe.isPaused()) pipe.resume();
      },
      cancel() {
        cancelled = true;
        clearInterval(timer);
        run.cancel();
        // Nobody reads any more, and a full pipe must not keep the processes from ending.
        for (const pipe of Object.values(pipes)) pipe.resume();
      },
    },
    { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 },
  );
}
