// Cloudflare's own sandbox bridge, as cerver's Cloudflare adapter speaks to it.
import { Sandbox as CloudflareSandbox } from "@cloudflare/sandbox";
import { bridge } from "@cloudflare/sandbox/bridge";

export { WarmPool } from "@cloudflare/sandbox/bridge";

/** A sandbox stops, and its files go, when nobody has used it for SLEEP_AFTER. */
export class Sandbox extends CloudflareSandbox<any> {
  constructor(state: any, env: any) {
    super(state, env);
    this.sleepAfter = env.SLEEP_AFTER ?? "1h";
  }
}

const worker: any = bridge({});

export default {
  ...worker,
  /** Without a key the bridge would serve everybody; so it serves nobody until it has one. */
  async fetch(request: Request, env: { SANDBOX_API_KEY?: string }, context: unknown): Promise<Response> {
    if (env.SANDBOX_API_KEY) return worker.fetch(request, env, context);
    const error = "This bridge has no key yet: npx wrangler secret put SANDBOX_API_KEY";
    return Response.json({ error, code: "no_key" }, { status: 503 });
  },
};
