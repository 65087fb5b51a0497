import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { parseJson } from "../../../util/parse-json.js";
import { retryAfterOf, vendorFailure, withoutSecret } from "../vendor-failure.js";

const VENDOR = "Cloudflare Sandbox";
/** How long the bridge may take to answer; a container that has to start first is a matter of seconds. */
const ANSWER_MS = 90_000;
/** A run's frames come at least every few seconds. A stream that is silent for longer is dead. */
const SILENCE_MS = 45_000;
/** The longest event of an exec, in characters. */
const MAX_EVENT_LENGTH = 32 * 1024 * 1024;
/** How much of an answer that is no stream is read, in bytes. */
const MAX_ANSWER_BYTES = 1024 * 1024;

const TOO_LATE = new Error("no answer in time");

/** What an exec tells, as it happens. `error` and `exit` are last. */
export type ExecEvent =
  | { type: "stdout" | "stderr"; text: string }
  | { type: "exit"; exitCode: number }
  | { type: "error"; code: string; message: string };

const BridgeError = z.looseObject({ error: z.string(), code: z.string().optional() });
const ExitEvent = z.looseObject({ exit_code: z.number().int() });
const PoolStats = z.looseObject({ assigned: z.number() });
const Tunnel = z.looseObject({ url: z.string() });

/**
 * The HTTP API of Cloudflare's sandbox bridge, version 0.12 (the Worker that `@cloudflare/sandbox/bridge` makes; its
 * own description is at `/v1/openapi.json`).
 *
 * Every request about a sandbox but DELETE starts a container when there is none: the bridge knows no "not found".
 */
export class CloudflareBridge {
  readonly #url: URL;
  readonly #key: string;
  readonly #fetch: typeof fetch;

  constructor(credentials: Readonly<Record<string, string>>, fetcher: typeof fetch) {
    const { cloudflare_sandbox_url: url, cloudflare_sandbox_key: key } = credentials;
    if (!url || !key) throw missing(url ? "cloudflare_sandbox_key" : "cloudflare_sandbox_url");
    this.#url = bridgeUrl(url);
    this.#key = key;
    this.#fetch = fetcher;
  }

  /** Whether the key is asked for, and right. Starts no container. */
  async verify(signal: AbortSignal): Promise<void> {
    const stats = await this.#ask("check the key", "GET", "/v1/pool/stats", { signal });
    if (!PoolStats.safeParse(await json(stats)).success) throw this.#notABridge();
    const withoutKey = await this.#send("check the key", "GET", "/v1/pool/stats", { signal, key: "" });
    await withoutKey.body?.cancel();
    if (!withoutKey.ok) return;
    throw new CerverError(
      "credentials_refused",
      "This bridge serves everybody who knows its address: it asks for no key.",
      {
        hint: "Give it one with `npx wrangler secret put SANDBOX_API_KEY`, then enable the provider again.",
        details: { vendor: VENDOR },
      },
    );
  }

  /** Writes a file below `/workspace`, into a folder that is there. */
  async put(sandboxId: string, path: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const at = `/v1/sandbox/${sandboxId}/file/workspace/${path}`;
    const response = await this.#ask("write a file", "PUT", at, {
      signal,
      body: bytes,
      type: "application/octet-stream",
    });
    await response.body?.cancel();
  }

  /**
   * Runs a shell text in `/workspace`. Resolves when the bridge has taken it. `timeoutMs` is the bridge's own limit, there
   * so that its default is not what counts. What is printed has to be ASCII: the bridge decodes and encodes it as text.
   */
  async exec(
    sandboxId: string,
    script: string,
    { doing, timeoutMs, signal }: { doing: string; timeoutMs: number; signal: AbortSignal },
  ): Promise<AsyncGenerator<ExecEvent, void>> {
    const body = { argv: ["sh", "-c", script], cwd: "/workspace", timeout_ms: timeoutMs };
    const response = await this.#ask(doing, "POST", `/v1/sandbox/${sandboxId}/exec`, {
      signal,
      body: Buffer.from(JSON.stringify(body)),
      type: "application/json",
    });
    if (!response.body || !response.headers.get("content-type")?.startsWith("text/event-stream"))
      throw this.#notABridge();
    return execEvents(response.body);
  }

  /** Ends a sandbox, if there is one. */
  async delete(sandboxId: string, signal: AbortSignal): Promise<void> {
    const response = await this.#ask("delete a sandbox", "DELETE", `/v1/sandbox/${sandboxId}`, { signal });
    await response.body?.cancel();
  }

  /** The public address of a port. */
  async tunnel(sandboxId: string, port: number, signal: AbortSignal): Promise<string> {
    const response = await this.#ask("show a port", "POST", `/v1/sandbox/${sandboxId}/tunnel/${port}`, {
      signal,
    });
    const tunnel = Tunnel.safeParse(await json(response));
    if (!tunnel.success) throw this.#notABridge();
    return tunnel.data.url;
  }

  async #ask(doing: string, method: string, path: string, options: AskOptions): Promise<Response> {
    const response = await this.#send(doing, method, path, options);
    if (response.ok) return response;
    const text = await boundedText(response);
    const said = BridgeError.safeParse(parseJson(text));
    throw vendorFailure({
      vendor: VENDOR,
      doing,
      status: response.status,
      code: said.success ? said.data.code : undefined,
      message: this.#withoutKey(this.#words(response, said.success ? said.data.error : text)),
      retryAfterMs: retryAfterOf(response),
    });
  }

  /** What may be asked twice is, when the connection broke: a kept one may have been closed over there meanwhile. */
  async #send(doing: string, method: string, path: string, options: AskOptions): Promise<Response> {
    try {
      return await this.#sendOnce(method, path, options).catch((error: unknown) => {
        if (method === "POST" || error === TOO_LATE || options.signal.aborted) throw error;
        return this.#sendOnce(method, path, options);
      });
    } catch (error) {
      options.signal.throwIfAborted();
      const why = error === TOO_LATE ? `it gave no answer within ${ANSWER_MS / 1000} s` : reason(error);
      const message = this.#withoutKey(`the bridge at ${this.#url.host} is out of reach (${why})`);
      throw vendorFailure({ vendor: VENDOR, doing, message });
    }
  }

  /** Redirects are not followed: the key is for this host alone. */
  async #sendOnce(method: string, path: string, { signal, body, type, key }: AskOptions): Promise<Response> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(TOO_LATE), ANSWER_MS);
    try {
      return await this.#fetch(new URL(this.#url.pathname.replace(/\/$/, "") + path, this.#url), {
        method,
        redirect: "manual",
        signal: AbortSignal.any([signal, late.signal]),
        headers: {
          authorization: `Bearer ${key ?? this.#key}`,
          ...(type && { "content-type": type }),
        },
        ...(body && { body: body as Uint8Array<ArrayBuffer> }),
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #words(response: Response, words: string): string {
    if (response.status >= 300 && response.status < 400) {
      return `the bridge at ${this.#url.host} points to another address (${response.status}), which is not followed: give the provider that address instead`;
    }
    return words.trim() === "" ? `the bridge answered with HTTP ${response.status}` : words.slice(0, 1000);
  }

  #withoutKey(words: string): string {
    return withoutSecret(words, this.#key, "[key]");
  }

  #notABridge(): CerverError {
    return new CerverError(
      "provider_failed",
      `What answers at ${this.#url.host} is not Cloudflare's sandbox bridge, or not one of version 0.12.`,
      {
        hint: "Deploy examples/cloudflare-bridge, and give the provider the address that wrangler prints.",
        details: { vendor: VENDOR },
      },
    );
  }
}

interface AskOptions {
  signal: AbortSignal;
  body?: Uint8Array;
  type?: string;
  key?: string;
}

/** An exec's server-sent events. Ends early when the connection does; the caller misses `exit` then. */
async function* execEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ExecEvent, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const chunk = await withinSilence(reader.read());
      if (!chunk || chunk.done) return;
      rest += decoder.decode(chunk.value, { stream: true });
      for (let end = rest.indexOf("\n\n"), from = 0; ; end = rest.indexOf("\n\n", from)) {
        if (end === -1) {
          rest = rest.slice(from);
          break;
        }
        const event = execEvent(rest.slice(from, end));
        from = end + 2;
        if (event) yield event;
      }
      if (rest.length > MAX_EVENT_LENGTH) return;
    }
  } finally {
    // What is left of the answer is of no use to anybody.
    reader.cancel().catch(() => {});
  }
}

/** What was read, or nothing when the connection broke or nobody says anything any more. */
async function withinSilence<T>(read: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), SILENCE_MS);
  });
  try {
    return await Promise.race([read.catch(() => undefined), silence]);
  } finally {
    clearTimeout(timer);
  }
}

function execEvent(text: string): ExecEvent | undefined {
  const type = /^event: (.*)$/m.exec(text)?.[1];
  const data = text
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => line.slice(6))
    .join("\n");
  if (type === "stdout" || type === "stderr")
    return { type, text: Buffer.from(data, "base64").toString("latin1") };
  if (type === "exit") {
    const exit = ExitEvent.safeParse(parseJson(data));
    return exit.success ? { type, exitCode: exit.data.exit_code } : undefined;
  }
  if (type !== "error") return undefined;
  const said = BridgeError.safeParse(parseJson(data));
  return {
    type,
    code: (said.success && said.data.code) || "exec_error",
    message: said.success ? said.data.error : data,
  };
}

function bridgeUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isGood =
    url &&
    (url.protocol === "https:" || url.protocol === "http:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "";
  if (isGood) return url;
  throw new CerverError(
    "credentials_refused",
    "cloudflare_sandbox_url: this is not the address of a bridge.",
    {
      hint: "It looks like https://cerver-sandbox-bridge.NAME.workers.dev.",
    },
  );
}

function missing(name: string): CerverError {
  return new CerverError(
    "credentials_refused",
    `Cloudflare Sandbox needs ${name}, and this account gave none.`,
    {
      hint: "Deploy examples/cloudflare-bridge, then give its address and key: POST /v2/account/providers, or `cerver provider enable`.",
    },
  );
}

async function json(response: Response): Promise<unknown> {
  return parseJson(await boundedText(response));
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of (response.body ?? []) as unknown as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_ANSWER_BYTES) break;
    }
  } catch {
    // Half an answer is what there is.
  }
  return Buffer.concat(chunks).toString("utf8");
}

function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}
