import type { ApiClient, ConnectionConfig, Sandbox } from "e2b";
import { CerverError } from "../../../protocol/errors.js";
import { retryAfterOf } from "../vendor-failure.js";
import { e2bFailure, mayBeGone, saidBy, sandboxAsleep, sandboxNotFound } from "./e2b-failure.js";

/** How long the API may take for one call, in milliseconds: the SDK's own figure. */
const CALL_LIMIT_MS = 60_000;
/** How many pages of a list are read: 100 sandboxes each. */
const MAX_PAGES = 20;

export interface E2bOptions {
  /** Where the API is: `https://api.DOMAIN` unless said. */
  apiUrl?: string;
  /** Where every sandbox's daemon is reached: each at its own address unless said. */
  sandboxUrl?: string;
  /** `e2b.app` unless said. An account's own `e2b_domain` wins. */
  domain?: string;
  /** What sandboxes are made from: `base` unless said. */
  template?: string;
}

/** What is needed of the SDK, which is loaded when the first call comes. */
export interface E2bSdk {
  ApiClient: typeof ApiClient;
  ConnectionConfig: typeof ConnectionConfig;
  Sandbox: typeof Sandbox;
}

/** What a sandbox is made with, in the vendor's words. */
export interface NewSandbox {
  templateID: string;
  /** Seconds. */
  timeout: number;
  metadata: Record<string, string>;
  envVars: Record<string, string>;
}

/** What the API answers, with the error as it was sent. */
interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What it takes to work in a sandbox. */
export interface E2bAccess {
  sandboxID: string;
  envdVersion: string;
  envdAccessToken?: string;
  domain?: string | null;
}

/** What is known of a sandbox that is there. */
export interface E2bDetail extends E2bAccess {
  state: "running" | "paused";
  endAt: string;
  metadata?: Record<string, string>;
}

/**
 * One account at E2B. Its API is called through the SDK's typed client rather than through `Sandbox.create` and
 * `Sandbox.connect`: those keep the vendor's code and `Retry-After` to themselves, and connecting would put off a
 * sandbox's end and wake it.
 */
export class E2bAccount {
  readonly #api: ApiClient["api"];
  readonly #config: ConnectionConfig;
  readonly #sdk: E2bSdk;
  readonly #apiKey: string;
  readonly #connection: {
    apiKey: string;
    apiUrl: string;
    domain: string;
    debug: false;
    retries: 0;
    sandboxUrl?: string;
  };

  constructor(sdk: E2bSdk, credentials: Readonly<Record<string, string>>, options: E2bOptions) {
    const { e2b_api_key: apiKey = "", e2b_domain: ownDomain } = credentials;
    if (apiKey === "") {
      throw new CerverError("credentials_refused", "This account has given no e2b_api_key.", {
        hint: 'Give it: POST /v2/account/providers {"provider": "e2b", "credentials": {"e2b_api_key": "e2b_..."}}.',
      });
    }
    const domain = ownDomain || options.domain || "e2b.app";
    if (!DOMAIN.test(domain)) {
      throw new CerverError("credentials_refused", `e2b_domain: "${domain}" is not the name of a domain.`, {
        hint: "Leave it out unless you run E2B yourself; then give a name such as e2b.example.com.",
      });
    }
    this.#sdk = sdk;
    this.#apiKey = apiKey;
    this.#connection = {
      apiKey,
      domain,
      // An account's own domain has its own API.
      apiUrl: (ownDomain ? undefined : options.apiUrl) ?? `https://api.${domain}`,
      // Said, so that no variable of this process decides it.
      debug: false,
      // Whoever asked decides what to do about a refusal, and when.
      retries: 0,
      ...(options.sandboxUrl && !ownDomain && { sandboxUrl: options.sandboxUrl }),
    };
    this.#config = new sdk.ConnectionConfig(this.#connection);
    this.#api = new sdk.ApiClient(this.#config).api;
  }

  /** Makes a sandbox. Rejects with {@link LostAnswer} when nobody knows whether it was made. */
  async create(body: NewSandbox, signal: AbortSignal): Promise<E2bAccess> {
    let answer: Answer<E2bAccess>;
    try {
      answer = await this.#api.POST("/v2/sandboxes", { body, signal: limited(signal) });
    } catch (error) {
      throw new LostAnswer(error);
    }
    const { status } = answer.response;
    // 503 is E2B's word for having done nothing.
    if (status >= 500 && status !== 503) throw new LostAnswer(this.#refusal(answer, "make a sandbox"));
    return this.#read(answer, "make a sandbox");
  }

  /** Ends a sandbox. One that is gone is no failure. */
  async kill(sandboxId: string, signal: AbortSignal): Promise<void> {
    const doing = "delete the sandbox";
    const answer = await this.#ask(doing, signal, (limit) =>
      this.#api.DELETE("/sandboxes/{sandboxID}", { ...at(sandboxId), signal: limit }),
    );
    if (answer.response.status !== 404) this.#check(answer, doing);
  }

  /** Throws `sandbox_not_found`. */
  async detail(sandboxId: string, signal: AbortSignal): Promise<E2bDetail> {
    const doing = "find the sandbox";
    const answer = await this.#ask<E2bDetail>(doing, signal, (limit) =>
      this.#api.GET("/sandboxes/{sandboxID}", { ...at(sandboxId), signal: limit }),
    );
    if (answer.response.status === 404) throw sandboxNotFound(sandboxId);
    return this.#read(answer, doing);
  }

  /** The ids of the sandboxes whose metadata holds this, paused ones too. */
  async find(name: string, value: string, signal: AbortSignal): Promise<string[]> {
    const metadata = new URLSearchParams({
      [encodeURIComponent(name)]: encodeURIComponent(value),
    }).toString();
    return this.#list({ metadata, limit: 100 }, MAX_PAGES, signal);
  }

  /** Asks for next to nothing, to see whether the key works. */
  async ping(signal: AbortSignal): Promise<void> {
    await this.#list({ limit: 1 }, 1, signal);
  }

  async #list(query: { metadata?: string; limit: number }, maxPages: number, signal: AbortSignal) {
    const doing = "list its sandboxes";
    const ids: string[] = [];
    let nextToken: string | undefined;
    for (let page = 0; page < maxPages; page++) {
      const answer: Answer<{ sandboxID: string }[]> = await this.#ask(doing, signal, (limit) =>
        this.#api.GET("/v2/sandboxes", {
          params: { query: { ...query, ...(nextToken !== undefined && { nextToken }) } },
          signal: limit,
        }),
      );
      ids.push(...this.#read(answer, doing).map(({ sandboxID }) => sandboxID));
      nextToken = answer.response.headers.get("x-next-token") || undefined;
      if (nextToken === undefined) break;
    }
    return ids;
  }

  async pause(sandboxId: string, signal: AbortSignal): Promise<void> {
    const doing = "pause the sandbox";
    const answer = await this.#ask(doing, signal, (limit) =>
      this.#api.POST("/sandboxes/{sandboxID}/pause", {
        ...at(sandboxId),
        body: {},
        signal: limit,
      }),
    );
    if (answer.response.status === 404) throw sandboxNotFound(sandboxId);
    // It sleeps already.
    if (answer.response.status !== 409) this.#check(answer, doing);
  }

  /** Wakes a sandbox that sleeps. It lives for so many seconds from now on, or longer if it did already. */
  async connect(sandboxId: string, timeout: number, signal: AbortSignal): Promise<E2bAccess> {
    const doing = "connect to the sandbox";
    const answer = await this.#ask<E2bAccess>(doing, signal, (limit) =>
      this.#api.POST("/v2/sandboxes/{sandboxID}/connect", {
        ...at(sandboxId),
        body: { timeout },
        signal: limit,
      }),
    );
    if (answer.response.status === 404) throw sandboxNotFound(sandboxId);
    return this.#read(answer, doing);
  }

  /** A sandbox that is awake, ready to be worked in. Neither its lifetime nor anything else of it changes. */
  async open(sandboxId: string, signal: AbortSignal): Promise<Sandbox> {
    const detail = await this.detail(sandboxId, signal);
    if (detail.state === "paused") throw sandboxAsleep(sandboxId);
    if (detail.envdAccessToken !== undefined) return this.enter(detail);
    // Connecting tells the token too. With the time that is left it puts nothing off.
    const left = Math.max(1, Math.floor((Date.parse(detail.endAt) - Date.now()) / 1000));
    return this.enter(await this.connect(sandboxId, left, signal));
  }

  enter({ sandboxID, domain, envdVersion, envdAccessToken }: E2bAccess): Sandbox {
    return new this.#sdk.Sandbox({
      ...this.#connection,
      sandboxId: sandboxID,
      envdVersion,
      ...(domain && { sandboxDomain: domain }),
      ...(envdAccessToken !== undefined && { envdAccessToken }),
    });
  }

  /** What an error of the SDK means for whoever works in a sandbox: the API knows whether the sandbox is there. */
  async explain(error: unknown, doing: string, sandboxId: string): Promise<CerverError> {
    if (error instanceof CerverError) return error;
    const failure = e2bFailure({ ...saidBy(error), doing }, this.#apiKey);
    if (!mayBeGone(error)) return failure;
    try {
      const { state } = await this.detail(sandboxId, AbortSignal.timeout(10_000));
      return state === "paused" ? sandboxAsleep(sandboxId) : failure;
    } catch (other) {
      return other instanceof CerverError && other.code === "sandbox_not_found" ? other : failure;
    }
  }

  async #ask<T>(
    doing: string,
    signal: AbortSignal,
    call: (signal: AbortSignal) => Promise<Answer<T>>,
  ): Promise<Answer<T>> {
    try {
      return await call(limited(signal));
    } catch (error) {
      signal.throwIfAborted();
      throw e2bFailure({ ...saidBy(error), doing }, this.#apiKey);
    }
  }

  #check(answer: Answer<unknown>, doing: string): void {
    if (!answer.response.ok) throw this.#refusal(answer, doing);
  }

  #read<T>(answer: Answer<T>, doing: string): T {
    this.#check(answer, doing);
    if (answer.data !== undefined) return answer.data;
    throw e2bFailure({ doing, message: "its answer was empty" }, this.#apiKey);
  }

  #refusal({ error, response }: Answer<unknown>, doing: string): CerverError {
    const said = (typeof error === "object" && error !== null ? error : {}) as Record<string, unknown>;
    const code = said.error_code ?? said.code;
    return e2bFailure(
      {
        doing,
        status: response.status,
        ...(code !== undefined && { code: String(code) }),
        message:
          typeof said.message === "string"
            ? said.message
            : typeof error === "string" && error !== ""
              ? error.slice(0, 500)
              : `it answered with HTTP ${response.status}`,
        retryAfterMs: retryAfterOf(response),
      },
      this.#apiKey,
    );
  }
}

/** The answer to a create never came, or says only that something went wrong: a sandbox may have been made. */
export class LostAnswer extends Error {
  override readonly name = "LostAnswer";
  constructor(override readonly cause: unknown) {
    super("nobody knows whether a sandbox was made");
  }
}

const DOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+$/i;

function at(sandboxID: string) {
  return { params: { path: { sandboxID } } };
}

function limited(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(CALL_LIMIT_MS)]);
}
