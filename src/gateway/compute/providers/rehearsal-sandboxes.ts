import { CerverError } from "../../../protocol/errors.js";
import type { FileContent, FileEncoding, WriteFileRequest } from "../../../protocol/sandbox.js";

/** As many sandboxes as a rehearsal has at once, and as much as one holds. */
const MAX_SANDBOXES = 10_000;
const MAX_FILES = 64;
const MAX_FILE_BYTES = 256 * 1024;

/** The sandboxes of a rehearsal. They exist here and nowhere else. */
export class RehearsalSandboxes {
  readonly #sandboxes = new Map<string, RehearsedSandbox>();
  readonly #clock: { now(): number };

  constructor(clock: { now(): number }) {
    this.#clock = clock;
  }

  add(
    id: string,
    about: { computeId: string; sessionId: string | undefined; timeoutMs: number | undefined },
  ): void {
    if (this.#sandboxes.size >= MAX_SANDBOXES) for (const one of this.#sandboxes.keys()) this.get(one);
    if (this.#sandboxes.size >= MAX_SANDBOXES) {
      throw new CerverError("too_many_requests", `A rehearsal has ${MAX_SANDBOXES} sandboxes at most.`, {
        hint: "End sessions that nobody needs.",
      });
    }
    const { computeId, sessionId, timeoutMs } = about;
    const until = timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#clock.now() + timeoutMs;
    this.#sandboxes.set(id, new RehearsedSandbox(computeId, sessionId, until));
  }

  /** Undefined when there is none, or its time is over. */
  get(id: string): RehearsedSandbox | undefined {
    const sandbox = this.#sandboxes.get(id);
    if (sandbox && this.#clock.now() >= sandbox.until) this.delete(id);
    return this.#sandboxes.get(id);
  }

  ofSession(sessionId: string): string[] {
    return [...this.#sandboxes.keys()].filter((id) => this.get(id)?.sessionId === sessionId);
  }

  /** What runs in it ends. */
  delete(id: string): void {
    this.#sandboxes.get(id)?.end();
    this.#sandboxes.delete(id);
  }
}

/** One of them, and what was put into it. */
export class RehearsedSandbox {
  readonly #ended = new AbortController();
  readonly #files = new Map<string, Buffer>();
  #state: Record<string, unknown> | undefined;

  constructor(
    readonly computeId: string,
    readonly sessionId: string | undefined,
    /** Milliseconds since 1970. */
    readonly until: number,
  ) {}

  /** Aborted when it is deleted. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  end(): void {
    this.#ended.abort(
      new CerverError("compute_lost", "The sandbox was deleted, so the outcome of the run is unknown.", {
        hint: "Make another sandbox.",
      }),
    );
  }

  write({ path, content, encoding }: WriteFileRequest): Response {
    const bytes = Buffer.from(content, encoding);
    if (bytes.length > MAX_FILE_BYTES || (this.#files.size >= MAX_FILES && !this.#files.has(path))) {
      return refusal(
        "too_large",
        `A rehearsed sandbox holds ${MAX_FILES} files of ${MAX_FILE_BYTES} bytes at most.`,
        "Rehearse with smaller files.",
      );
    }
    this.#files.set(path, bytes);
    return Response.json({ path, size: bytes.length });
  }

  read(path: string, encoding: FileEncoding): Response {
    const bytes = this.#files.get(path);
    if (bytes) {
      const content = bytes.toString(encoding);
      return Response.json({ path, content, encoding, size: bytes.length } satisfies FileContent);
    }
    return refusal(
      "file_not_found",
      `There is no file ${path} in this rehearsed sandbox.`,
      "Write it first.",
    );
  }

  getState(): Response {
    return this.#state === undefined ? Response.json({ state: {} }) : Response.json({ state: this.#state });
  }

  setState(state: Record<string, unknown>): Response {
    this.#state = state;
    return Response.json({ state });
  }
}

function refusal(code: "too_large" | "file_not_found", sentence: string, hint: string): Response {
  const error = new CerverError(code, sentence, { hint, details: { rehearsal: true } });
  return Response.json(error.toBody(), { status: error.status });
}
