import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { timeoutOf } from "../../../protocol/runs.js";
import type { SandboxRunRequest } from "../../../protocol/sandbox.js";
import type { RunAtVendor, TakeOutput, VendorEnd } from "../vendor-run.js";
import type { RunnerOrder } from "./cloudflare-runner.js";
import {
  type CloudflareSandbox,
  GONE,
  GUARD,
  NO_NODE,
  newOrderId,
  noNode,
  ORDERS,
  refused,
  unclear,
} from "./cloudflare-sandbox.js";

/** How long after the gateway's limit the runner ends a command by itself, when the gateway is not there to do it. */
const RUNNER_GRACE_MS = 15_000;
/** The bridge's own limit for one segment: none that counts, for a reader may be slow. */
const SEGMENT_MS = 25 * 3_600_000;
/** How long the end of a command that was ended is waited for in its stream. */
const LAST_FRAME_MS = 5_000;
/** The longest frame, in characters: a runner's are of some 100 KiB. */
const MAX_FRAME_LENGTH = 4 * 1024 * 1024;
const END_ATTEMPTS = 3;
const END_ATTEMPT_MS = 20_000;
const END_RETRY_MS = 1_000;

const WaitStatus = z.object({ code: z.number().int(), signal: z.string().nullable() });
const EndAnswer = z.object({ alive: z.array(z.number()) });

/** One command in a sandbox, from its launch to its end. */
export class CloudflareRun {
  readonly #sandbox: CloudflareSandbox;
  readonly #id = newOrderId();
  /** Ends the reading, not the command. */
  readonly #reading = new AbortController();
  readonly #frames: AsyncGenerator<string, void>;
  /** What the runner's shell said before the first frame, or when it crashed. */
  #words = "";
  #ending: Promise<void> | undefined;

  private constructor(sandbox: CloudflareSandbox) {
    this.#sandbox = sandbox;
    this.#frames = this.#readFrames();
  }

  /** Starts a command. Resolves when it has begun; nothing of it ran, or it was ended, when this rejects. */
  static async launch(
    sandbox: CloudflareSandbox,
    command: (RunnerOrder & { op: "run" })["command"],
    request: SandboxRunRequest,
    signal: AbortSignal,
  ): Promise<CloudflareRun> {
    const run = new CloudflareRun(sandbox);
    const { stdin, envs = {}, cwd = "." } = request;
    const limitMs = timeoutOf(request) * 1000 + RUNNER_GRACE_MS;
    if (stdin !== undefined) await sandbox.put(`${run.#id}.stdin`, Buffer.from(stdin), signal);
    const hasStdin = stdin !== undefined;
    await sandbox.place({ op: "run", id: run.#id, command, cwd, envs, hasStdin, limitMs }, signal);
    const stopWatching = run.#endOnAbort(signal);
    try {
      await run.#begin();
      signal.throwIfAborted();
      return run;
    } catch (error) {
      run.#reading.abort();
      // Whether it began is not known: it must not go on without anybody who listens.
      if ((run.#isOpen && !wasRefused(error)) || signal.aborted) await run.#end();
      signal.throwIfAborted();
      throw error;
    } finally {
      stopWatching();
    }
  }

  /** Takes what it prints, until its end. */
  readonly follow: RunAtVendor = async (output, signal, begun) => {
    // It was launched.
    begun();
    const stopWatching = this.#endOnAbort(signal);
    let end: VendorEnd | undefined;
    try {
      end = await this.#follow(output, signal);
    } finally {
      stopWatching();
    }
    // What still comes of the answer is read, so that its connection can be used again.
    if (end) this.#frames.next().catch(() => {});
    else this.#reading.abort();
    if (signal.aborted) await this.#end();
    if (end) return end;
    signal.throwIfAborted();
    await this.#end();
    throw lost();
  };

  /** Set while the runner may be there without its last frame having come. */
  #isOpen = false;

  async #begin(): Promise<void> {
    for (;;) {
      const frame = await this.#next();
      if (frame === undefined && this.#words.startsWith("# ")) throw unclear("run a command", this.#words);
      if (frame === undefined) throw lost();
      if (frame === "b") return;
      if (frame === GONE || frame === NO_NODE) this.#isOpen = false;
      if (frame === GONE) throw await this.#sandbox.gone();
      if (frame === NO_NODE) throw noNode();
      if (!frame.startsWith("f ")) continue;
      this.#isOpen = false;
      throw refused(frame);
    }
  }

  async #follow(output: TakeOutput, signal: AbortSignal): Promise<VendorEnd | undefined> {
    const left = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    for (;;) {
      const frame = await this.#next().catch(() => undefined);
      if (frame === undefined) return undefined;
      const [kind, data = ""] = [frame[0], frame.slice(2)];
      if (kind === "x") {
        this.#isOpen = false;
        const { code, signal: name } = WaitStatus.parse(JSON.parse(data));
        return { exitCode: code, ...(name !== null && { signal: name }) };
      }
      if ((kind !== "o" && kind !== "e") || signal.aborted) continue;
      const taken = output(kind === "o" ? "stdout" : "stderr", Buffer.from(data, "base64"));
      if (taken) await Promise.race([taken, left]);
    }
  }

  async #next(): Promise<string | undefined> {
    const { value, done } = await this.#frames.next();
    return done ? undefined : value;
  }

  /** The lines of one segment after the other. Returns when the runner tells nothing any more. */
  async *#readFrames(): AsyncGenerator<string, void> {
    for (let segment = 0; ; segment++) {
      // An answer that is lost may be that of a start.
      if (segment === 0) this.#isOpen = true;
      const events = await this.#sandbox.bridge
        .exec(this.#sandbox.id, this.#segmentScript(segment), {
          doing: "run a command",
          timeoutMs: SEGMENT_MS,
          signal: this.#reading.signal,
        })
        .catch((error: unknown) => {
          throw wasRefused(error) ? error : lost(error instanceof CerverError ? error.message : undefined);
        });
      let rest = "";
      let hasMore = false;
      for await (const event of events) {
        if (event.type === "error") throw lost(event.message);
        if (event.type === "exit") break;
        if (event.type === "stderr") this.#words = (this.#words + event.text).slice(-1000);
        if (event.type !== "stdout") continue;
        const lines = (rest + event.text).split("\n");
        rest = lines.pop()!;
        // A command may write into the pipe of its own frames.
        if (rest.length > MAX_FRAME_LENGTH) throw lost("a frame is longer than any can be");
        for (const line of lines) {
          hasMore = line === "m";
          if (line === GONE && segment > 0) throw await this.#sandbox.gone();
          if (line.startsWith("# ")) this.#words = line;
          else if (!hasMore) yield line;
        }
      }
      if (!hasMore) return;
    }
  }

  /**
   * Reads a segment; the first one starts the runner, in a session of its own. Whatever happens to the runner, the pipe
   * is opened by somebody, so that its reader comes to an end.
   */
  #segmentScript(segment: number): string {
    const at = `${ORDERS}/${this.#id}`;
    const pipe = `${at}.${segment}`;
    const read = `mkfifo -m 600 ${pipe} && exec timeout ${SEGMENT_MS / 1000} cat ${pipe}`;
    if (segment > 0) return `${GUARD}; [ -f ${at}.pid ] && ${read}`;
    const runner = `setsid -w node ${at}.cjs </dev/null >/dev/null 2>${at}.err`;
    const release = `[ ! -p ${pipe} ] || timeout 5 sh -c 'sed "s/^/# /" ${at}.err > ${pipe}'`;
    const start = `{ ${runner}; ${release}; rm -f ${pipe} ${at}.err; } </dev/null >/dev/null 2>&1 &`;
    return `${GUARD}; mkfifo -m 600 ${pipe} || exit 1; ${start} exec timeout ${SEGMENT_MS / 1000} cat ${pipe}`;
  }

  #endOnAbort(signal: AbortSignal): () => void {
    const onAbort = () => {
      this.#end().then(
        async () => {
          await sleep(LAST_FRAME_MS, undefined, { signal: this.#reading.signal, ref: false }).catch(() => {});
          this.#reading.abort();
        },
        () => this.#reading.abort(),
      );
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    return () => signal.removeEventListener("abort", onAbort);
  }

  /** Ends the whole process tree, and sees to it that nothing is left. Rejects with `compute_lost` when that fails. */
  #end(): Promise<void> {
    this.#ending ??= this.#endTree();
    return this.#ending;
  }

  async #endTree(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const order = { op: "end", id: newOrderId(), run: this.#id } as const;
        const signal = AbortSignal.timeout(END_ATTEMPT_MS);
        const { answer } = await this.#sandbox.order(order, "end a command", signal);
        const { alive } = EndAnswer.parse(answer);
        if (alive.length > 0) throw new Error(`${alive.length} processes are alive`);
        return;
      } catch (error) {
        // With its sandbox, the command is gone too.
        if (error instanceof CerverError && error.code === "sandbox_not_found") return;
        if (attempt === END_ATTEMPTS) throw notEnded(error);
        await sleep(END_RETRY_MS);
      }
    }
  }
}

/** The bridge said itself that it did not take the command: its own refusals have a code. */
function wasRefused(error: unknown): boolean {
  return error instanceof CerverError && error.details?.vendor_code !== undefined;
}

function lost(words?: string): CerverError {
  const said = words ? ` (${words.slice(0, 300).replace(/\.$/, "")})` : "";
  return new CerverError(
    "compute_lost",
    `Cloudflare stopped telling about the run before its end${said}, so its outcome is unknown.`,
    {
      hint: "Look at what it did before you run it again. What was left of it is ended.",
    },
  );
}

function notEnded(cause: unknown): CerverError {
  return new CerverError(
    "compute_lost",
    "The run was to be ended, and Cloudflare did not confirm that it was.",
    {
      hint: "End the session: DELETE /v2/sessions/SESSION_ID stops its container, and everything in it.",
      cause,
    },
  );
}
