import { z } from "zod";
import { TranscriptEntry } from "./transcript.js";

/** Small answers that no record is behind. */

/** Answer of `DELETE /v2/sessions/:id` and `POST /v2/sessions/:id/close`. */
export const SessionClosed = z
  .looseObject({ success: z.literal(true), session_id: z.string(), status: z.enum(["ended", "purged"]) })
  .meta({ id: "SessionClosed" });
export type SessionClosed = z.infer<typeof SessionClosed>;

/** Answer of `PATCH /v2/sessions/:id`: both as they are now. */
export const SessionPatched = z
  .looseObject({
    session_id: z.string(),
    metadata: z.record(z.string(), z.unknown()),
    labels: z.record(z.string(), z.string()),
  })
  .meta({ id: "SessionPatched" });
export type SessionPatched = z.infer<typeof SessionPatched>;

/** Answer of `POST /v2/sessions/:id/status`. */
export const StatusSet = z
  .looseObject({ success: z.literal(true), session_id: z.string() })
  .meta({ id: "StatusSet" });
export type StatusSet = z.infer<typeof StatusSet>;

/** Answer of `GET /v2/sessions/:id/transcript`. `transcript_total` counts all entries, whatever was asked for. */
export const TranscriptPage = z
  .looseObject({
    session_id: z.string(),
    transcript: z.array(TranscriptEntry),
    transcript_total: z.number().int(),
  })
  .meta({ id: "TranscriptPage" });
export type TranscriptPage = z.infer<typeof TranscriptPage>;

/** Answer of `DELETE /v2/computes/:id`. */
export const ComputeRemoved = z
  .looseObject({ success: z.literal(true), compute_id: z.string() })
  .meta({ id: "ComputeRemoved" });
export type ComputeRemoved = z.infer<typeof ComputeRemoved>;

/** Answer of `DELETE /v2/auth/clients/:client_id`. */
export const ClientDisconnected = z
  .looseObject({ success: z.literal(true), client_id: z.string() })
  .meta({ id: "ClientDisconnected" });
export type ClientDisconnected = z.infer<typeof ClientDisconnected>;

/** Answer of `DELETE /v2/account/providers/:name`. */
export const ProviderDisabled = z
  .looseObject({ success: z.literal(true), provider: z.string() })
  .meta({ id: "ProviderDisabled" });
export type ProviderDisabled = z.infer<typeof ProviderDisabled>;

/** `GET /v2/account/orphans`: sandboxes that could not be shown to be gone, and are tried again. */
export const OrphanList = z
  .looseObject({
    orphans: z.array(
      z.looseObject({
        orphan_id: z.string(),
        session_id: z.string().nullable(),
        provider: z.string(),
        compute_id: z.string(),
        sandbox_id: z.string().nullable(),
        found_at: z.string(),
        why: z.string(),
      }),
    ),
  })
  .meta({ id: "OrphanList" });
export type OrphanList = z.infer<typeof OrphanList>;

/** Answer of `POST /v2/auth/signin-links`: an address that signs one browser in, once. `expires_in` is seconds. */
export const SigninLink = z
  .looseObject({ url: z.string(), expires_in: z.number().int() })
  .meta({ id: "SigninLink" });
export type SigninLink = z.infer<typeof SigninLink>;

/** Answer of `DELETE /v2/auth/keys/:key`. */
export const KeyRevoked = z.looseObject({ success: z.literal(true) }).meta({ id: "KeyRevoked" });

/** `GET /v2/auth/account`. */
export const Account = z.looseObject({ account_id: z.string() }).meta({ id: "Account" });

/** Answer of `PUT /sandbox/:id/files`. */
export const FileWritten = z
  .looseObject({ success: z.literal(true), path: z.string(), size: z.number().int() })
  .meta({ id: "FileWritten" });
export type FileWritten = z.infer<typeof FileWritten>;

/** Answer of `GET /sandbox/:id/state`. */
export const SandboxStateAnswer = z
  .looseObject({ provider: z.string(), sandbox_id: z.string(), state: z.record(z.string(), z.unknown()) })
  .meta({ id: "SandboxState" });
export type SandboxStateAnswer = z.infer<typeof SandboxStateAnswer>;

/** Answer of `PUT /sandbox/:id/state`. */
export const StateKept = z
  .looseObject({ success: z.literal(true), sandbox_id: z.string() })
  .meta({ id: "StateKept" });
export type StateKept = z.infer<typeof StateKept>;

/** Answer of `DELETE /sandbox/:id`. */
export const SandboxDeleted = z
  .looseObject({
    success: z.literal(true),
    sandbox_id: z.string(),
    provider: z.string(),
    status: z.literal("terminated"),
    remote_sandbox_id: z.string().optional().describe("The same, as a relay calls it."),
  })
  .meta({ id: "SandboxDeleted" });
export type SandboxDeleted = z.infer<typeof SandboxDeleted>;

/** `GET /health`. */
export const Health = z
  .looseObject({ status: z.literal("ok"), service: z.string(), version: z.string() })
  .meta({ id: "Health" });
export type Health = z.infer<typeof Health>;

/** `GET /` for programs: what is served here. */
export const ApiInfo = z
  .looseObject({
    service: z.string(),
    version: z.string(),
    openapi: z.string().describe("Where the whole description is."),
    endpoints: z.array(z.object({ method: z.string(), path: z.string(), summary: z.string() })),
  })
  .meta({ id: "ApiInfo" });
export type ApiInfo = z.infer<typeof ApiInfo>;
