import type { Theme } from "./operation.js";
import { audit } from "./operations/audit.js";
import { auth } from "./operations/auth.js";
import { computes } from "./operations/computes.js";
import { memory } from "./operations/memory.js";
import { meta } from "./operations/meta.js";
import { ports } from "./operations/ports.js";
import { providers } from "./operations/providers.js";
import { routing, stressTests } from "./operations/routing.js";
import { runs } from "./operations/runs.js";
import { sandbox } from "./operations/sandbox.js";
import { sessionLife } from "./operations/session-life.js";
import { sessions } from "./operations/sessions.js";

/** Everything that the gateway serves, in the order of the document. */
export const THEMES: readonly Theme[] = [
  sessions,
  sessionLife,
  memory,
  runs,
  ports,
  routing,
  stressTests,
  computes,
  providers,
  sandbox,
  audit,
  auth,
  meta,
];
