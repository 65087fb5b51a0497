import { Hono } from "hono";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { Logger } from "../../util/logger.js";
import { VERSION } from "../../util/version.js";
import type { ApiTokens } from "../account/api-tokens.js";
import type { BrowserSignins } from "../account/browser-signins.js";
import type { DeviceCodes } from "../account/device-codes.js";
import type { OAuthClients } from "../account/oauth-clients.js";
import type { OAuthGrants } from "../account/oauth-grants.js";
import type { SigninLinks } from "../account/signin-links.js";
import type { CloudProviders } from "../compute/cloud-providers.js";
import type { Computes } from "../compute/computes.js";
import type { Sandboxes } from "../compute/sandboxes.js";
import type { Ports } from "../session/ports.js";
import type { Sessions } from "../session/sessions.js";
import { type AccountVariables, authenticate } from "./auth.js";
import { localOnly } from "./local-only.js";
import type { McpEndpoint } from "./mcp-endpoint.js";
import { approvePages } from "./pages/approve.js";
import { authorizePages } from "./pages/authorize.js";
import { dashboardPages } from "./pages/dashboard.js";
import { pageHeaders } from "./pages/layout.js";
import { signinPages } from "./pages/signin.js";
import { STYLE } from "./pages/style.js";
import { accountLimitRoutes } from "./routes/account-limits.js";
import { accountProviderRoutes } from "./routes/account-providers.js";
import { accountRunRoutes } from "./routes/account-runs.js";
import { apiDescriptionRoutes } from "./routes/api-description.js";
import { auditRoutes } from "./routes/audit.js";
import { computeRoutes } from "./routes/computes.js";
import { deviceLoginRoutes } from "./routes/device-login.js";
import { eventRoutes } from "./routes/events.js";
import { keyRoutes } from "./routes/keys.js";
import { mcpRoutes } from "./routes/mcp.js";
import { oauthRoutes } from "./routes/oauth.js";
import { portRoutes, previews } from "./routes/ports.js";
import { providerRoutes } from "./routes/providers.js";
import { routingRoutes } from "./routes/routing.js";
import { sandboxRoutes } from "./routes/sandbox.js";
import { searchRoutes } from "./routes/search.js";
import { sessionRoutes } from "./routes/sessions.js";
import { stressTestRoutes } from "./routes/stress-tests.js";

export interface GatewayAppDeps {
  sessions: Sessions;
  ports: Ports;
  computes: Computes;
  clouds: CloudProviders;
  sandboxes: Sandboxes;
  tokens: ApiTokens;
  signins: BrowserSignins;
  links: SigninLinks;
  devices: DeviceCodes;
  oauthClients: OAuthClients;
  oauthGrants: OAuthGrants;
  /** The address that people and relays use. */
  publicUrl: () => string;
  /** A wildcard name such as `*.preview.example.com`, when ports are shown on hosts of their own. */
  previewHost?: string | undefined;
  /** Set on a gateway without tokens: everybody on this machine is this account. */
  localAccountId?: string;
  mcp: (() => Promise<McpEndpoint>) | undefined;
  logger: Logger;
}

/** The gateway's HTTP surface. `/v2` and `/gateway` are two names of the same handlers. */
export function createGatewayApp(deps: GatewayAppDeps) {
  const { logger, localAccountId } = deps;
  const app = new Hono<{ Variables: AccountVariables }>();

  app.use(async (c, next) => {
    const given = c.req.header("x-request-id");
    const requestId = given && /^[\w.-]{1,128}$/.test(given) ? given : newId("req");
    c.set("requestId", requestId);
    // Set before the answer is made: changing a finished one makes the server copy it.
    c.header("X-Request-Id", requestId);
    await next();
  });
  app.use(previews(deps));
  if (localAccountId) app.use(localOnly());

  app.get("/health", (c) => c.json({ status: "ok", service: "cerver-gateway", version: VERSION }));
  app.route("/", apiDescriptionRoutes());
  app.route("/v2/auth/device", deviceLoginRoutes(deps));

  for (const base of ["/v2", "/gateway"]) {
    app.use(`${base}/*`, authenticate(deps));
    app.route(base, eventRoutes(deps));
    app.route(`${base}/sessions`, sessionRoutes(deps));
    app.route(`${base}/sessions`, portRoutes(deps));
    app.route(`${base}/search`, searchRoutes(deps));
    app.route(`${base}/runs`, accountRunRoutes(deps));
    app.route(`${base}/audit`, auditRoutes(deps));
    app.route(`${base}/computes`, computeRoutes(deps));
    app.route(`${base}/providers`, providerRoutes(deps));
    app.route(`${base}/account/providers`, accountProviderRoutes(deps));
    app.route(`${base}/account`, accountLimitRoutes(deps));
    app.route(`${base}/routing`, routingRoutes(deps));
    app.route(`${base}/stress-tests`, stressTestRoutes(deps.sessions));
  }
  app.route("/v2/auth", keyRoutes(deps));
  app.route("/", mcpRoutes(deps));
  app.use("/sandbox/*", authenticate(deps));
  app.use("/sandbox", authenticate(deps));
  app.route("/sandbox", sandboxRoutes(deps));

  for (const path of ["/style.css", "/signin", "/signout", "/approve", "/oauth/authorize"])
    app.use(path, pageHeaders());
  app.get("/style.css", (c) =>
    c.body(STYLE, 200, { "Content-Type": "text/css; charset=utf-8", "Cache-Control": "max-age=3600" }),
  );
  app.route("/", signinPages(deps));
  app.route("/", approvePages(deps));
  app.route("/", dashboardPages());
  // Where nobody needs a token, nobody has to ask for one.
  if (!localAccountId) {
    app.route("/", oauthRoutes(deps));
    app.route("/", authorizePages(deps));
  }

  app.notFound((c) => {
    const error = new CerverError("not_found", `This gateway has nothing at ${c.req.method} ${c.req.path}.`, {
      hint: "The session API begins at /v2/sessions.",
    });
    return c.json(error.toBody(c.var.requestId), 404);
  });
  app.onError((error, c) => {
    const known = error instanceof CerverError ? error : unexpected(error, c.var.requestId, logger);
    const retryAfterMs = known.details?.retry_after_ms;
    if (typeof retryAfterMs === "number") c.header("Retry-After", String(Math.ceil(retryAfterMs / 1000)));
    if (known.code === "unauthenticated" && !c.res.headers.has("WWW-Authenticate"))
      c.header("WWW-Authenticate", "Bearer");
    return c.json(known.toBody(c.var.requestId), known.status as 500);
  });
  return app;
}

function unexpected(error: Error, requestId: string, logger: Logger): CerverError {
  // Whoever has gone away hears nothing, and it is nobody's fault.
  if (error.name === "AbortError")
    return new CerverError("timed_out", "The caller did not wait for the answer.");
  if (error.name === "TimeoutError") {
    return new CerverError("timed_out", "The compute did not answer in time.", {
      hint: "Look at it with `cerver computes`, then try again.",
    });
  }
  logger.error({ err: error, request_id: requestId }, "a request failed");
  return new CerverError("internal", "Something went wrong inside the gateway.", {
    hint: "The gateway's log has the reason under this request_id.",
  });
}
