import { InfisicalSDK } from "@infisical/sdk";
import { jsonAnswer } from "./store-answer.js";

/** An answer other than 2xx. */
export class InfisicalRefusal extends Error {
  constructor(
    readonly status: number,
    /** Infisical's own word for what is wrong, such as `TokenError`. */
    readonly word: string | undefined,
  ) {
    super(`HTTP ${status}`);
  }
}

/** What the SDK makes its requests with: not part of its types, so the tests of the real SDK are what holds it. */
interface ApiClient {
  baseURL: string;
  defaultHeaders: Record<string, string>;
  request(
    this: ApiClient,
    method: string,
    path: string,
    body: string | undefined,
    config: { params?: Record<string, unknown>; headers?: Record<string, string> } | undefined,
  ): Promise<unknown>;
}

/** One client of the vendor's SDK, for one call, and what came back on the wire. */
export interface InfisicalCall {
  sdk: InfisicalSDK;
  /** Runs a call, and throws {@link InfisicalRefusal} or the network's own error in the place of the SDK's error. */
  run<T>(call: (sdk: InfisicalSDK) => Promise<T>): Promise<T>;
  /** The last answer's body. */
  body(): unknown;
}

/**
 * The SDK with a transport that can be stopped.
 *
 * Its own takes no signal, goes on for 15 s when it is refused by a rate limit or reaches nobody, and loses the status on
 * the way. So each request it makes is sent once, under the caller's signal, and follows no redirect with a credential in it.
 */
export function infisicalCall(
  siteUrl: string,
  fetch: typeof globalThis.fetch,
  signal: AbortSignal,
): InfisicalCall {
  const sdk = new InfisicalSDK({ siteUrl });
  const { apiClient } = sdk as unknown as { apiClient: ApiClient };
  let failed: unknown;
  let body: unknown;
  apiClient.request = async function (method, path, text, config) {
    const url = new URL(path.replace(/^\//, ""), this.baseURL);
    for (const [key, value] of Object.entries(config?.params ?? {}))
      if (value !== undefined && value !== null) url.searchParams.append(key, String(value));
    try {
      const headers = { ...this.defaultHeaders, ...config?.headers };
      const response = await fetch(url, {
        method,
        headers,
        signal,
        redirect: "error",
        ...(text !== undefined && { body: text }),
      });
      body = await jsonAnswer(response);
      if (!response.ok) throw new InfisicalRefusal(response.status, word(body));
      return body;
    } catch (error) {
      failed = error;
      throw error;
    }
  };
  return {
    sdk,
    body: () => body,
    run: async (call) => {
      try {
        return await call(sdk);
      } catch (error) {
        throw failed ?? error;
      }
    },
  };
}

function word(body: unknown): string | undefined {
  const error = (body as { error?: unknown } | undefined)?.error;
  return typeof error === "string" ? error : undefined;
}
