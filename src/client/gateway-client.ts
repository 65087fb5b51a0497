import { type AuditCalls, auditCalls } from "./audit.js";
import { type ComputeCalls, computeCalls } from "./computes.js";
import { type GatewayClientOptions, GatewayHttp } from "./http.js";
import { type KeyCalls, keyCalls } from "./keys.js";
import { type PortCalls, portCalls } from "./ports.js";
import { type ProviderCalls, providerCalls } from "./providers.js";
import { type RoutingCalls, routingCalls } from "./routing.js";
import { type RunCalls, runCalls } from "./runs.js";
import { type SandboxCalls, sandboxCalls } from "./sandboxes.js";
import { type SearchCalls, searchCalls } from "./search.js";
import { type SessionLifeCalls, sessionLifeCalls } from "./session-life.js";
import { type SessionCalls, sessionCalls } from "./sessions.js";
import { type StressTestCalls, stressTestCalls } from "./stress-tests.js";

export interface GatewayClient
  extends SessionCalls,
    SessionLifeCalls,
    SearchCalls,
    RunCalls,
    PortCalls,
    RoutingCalls,
    StressTestCalls,
    ComputeCalls,
    ProviderCalls,
    SandboxCalls,
    AuditCalls,
    KeyCalls {}

/**
 * The gateway's HTTP API, typed: one flat set of calls, written in a file for each noun. Every answer is read by the
 * schema that the gateway wrote it with.
 *
 * Failures are {@link CerverError}s: the gateway's own words where it answered, `gateway_unreachable` where it did not.
 */
export class GatewayClient {
  readonly gatewayUrl: string;

  constructor(options: GatewayClientOptions) {
    const http = new GatewayHttp(options);
    this.gatewayUrl = http.gatewayUrl;
    const calls: Omit<GatewayClient, "gatewayUrl"> = {
      ...sessionCalls(http),
      ...sessionLifeCalls(http),
      ...searchCalls(http),
      ...runCalls(http),
      ...portCalls(http),
      ...routingCalls(http),
      ...stressTestCalls(http),
      ...computeCalls(http),
      ...providerCalls(http),
      ...sandboxCalls(http),
      ...auditCalls(http),
      ...keyCalls(http),
    };
    Object.assign(this, calls);
  }
}
