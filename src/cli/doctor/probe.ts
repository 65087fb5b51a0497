import type { GatewayClient } from "../../client/gateway-client.js";
import type { GatewayChoice } from "../../login/gateway-choice.js";
import type { FindingStatus } from "../../protocol/doctor.js";
import type { LockHolder } from "../../util/lock-file.js";
import type { CliContext } from "../context.js";
import type { HealthAnswer } from "./health-answer.js";

/** What a probe saw, and what to type or to do about it. */
export interface Finding {
  status: FindingStatus;
  what: string;
  fix?: string;
}

/** One thing that is looked at. */
export interface Probe {
  readonly name: string;
  /** Probes without which there is nothing to look at: this one is skipped unless each was fine. */
  readonly needs?: readonly string[];
  /** How long it may take, in milliseconds. @default 5000 */
  readonly limitMs?: number;
  /** May throw: a failure's own words and hint then are the finding. */
  run(context: ProbeContext): Promise<Finding>;
}

/** What probes look at. What several of them need is found out once. */
export interface ProbeContext extends DoctorFacts {
  /** Aborts when the probe's time is over. */
  readonly signal: AbortSignal;
}

export interface DoctorFacts {
  readonly cli: CliContext;
  gateway(): Promise<GatewayChoice>;
  /** {@link gateway}, where its token does not matter: it looks into no keychain. */
  namedGateway(): Promise<GatewayChoice>;
  /** The gateway's address. Throws `invalid_request` for what is none. */
  gatewayUrl(): Promise<URL>;
  client(): Promise<GatewayClient>;
  /** The relay that runs on this machine. */
  relay(): Promise<LockHolder | undefined>;
  /** The compute that this machine is at the gateway. */
  computeId(): Promise<string | undefined>;
  /** The gateway's answer to `GET /health`. */
  health(): Promise<HealthAnswer>;
}
