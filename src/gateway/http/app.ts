import { Hono } from "hono";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { Logger } from "../../util/logger.js";
import type { ApiTokens, Principal } from "../account/api-tokens.js";
import type { DeviceCodes } from "../account/device-codes.js";
import type { BrowserSignins } from "../account/browser-signins.js";
import type { SigninLinks } from "../account/signin-links.js";
import type { ProviderProfile } from "../compute/catalog.js";
import type { Computes } from "../compute/computes.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Sessions } from "../session/sessions.js";
import { type AccountVariables, authenticate, requireScope } from "./auth.js";
import { localOnly } from "./local-only.js";
import { computeRoutes } from "./routes/computes.js";
import { providerRoutes } from "./routes/providers.js";
import { sessionRoutes } from "./routes/sessions.js";

export interface GatewayAppDeps {
  sessions: Sessions;
  computes: Computes;
  providers: ProviderRegistry;
  catalog: readonly ProviderProfile[];
  tokens: ApiTokens;
  /** The account behind a gateway without tokens. */
  localPrincipal?: Principal;
  version: string;
  logger: Logger;
}
