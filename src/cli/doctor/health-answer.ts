import { Health } from "../../protocol/answers.js";
import { parseJson } from "../../util/parse-json.js";

/** More than any gateway says of its health. */
const MAX_BYTES = 64 * 1024;

/** What came back from `GET /health`. */
export interface HealthAnswer {
  status: number;
  /** What the gateway says of itself; undefined when it is no gateway that answered. */
  health: Health | undefined;
  /** How far this machine's clock is behind the answer's `Date`, in milliseconds; undefined without that header. */
  behindMs: number | undefined;
  tookMs: number;
}

/** Asks a gateway how it is, without a token. */
export async function askHealth(gatewayUrl: string, signal: AbortSignal): Promise<HealthAnswer> {
  const asked = Date.now();
  const since = performance.now();
  const response = await fetch(`${gatewayUrl}/health`, { signal, redirect: "manual" });
  const tookMs = performance.now() - since;
  const date = Date.parse(response.headers.get("date") ?? "");
  const health = Health.safeParse(parseJson(await beginningOf(response)));
  return {
    status: response.status,
    health: response.ok && health.success ? health.data : undefined,
    // The header has whole seconds, so the middle of its second is compared with the middle of the call.
    behindMs: Number.isNaN(date) ? undefined : date + 500 - (asked + tookMs / 2),
    tookMs,
  };
}

async function beginningOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.byteLength;
    if (size > MAX_BYTES) break;
  }
  return Buffer.concat(chunks).toString();
}
