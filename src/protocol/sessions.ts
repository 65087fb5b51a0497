import { z } from "zod";
import { SessionMetrics } from "./metrics.js";
import { Attempt, Routing } from "./routing.js";
import { EntrySource, TranscriptEntry } from "./transcript.js";

export const SessionStatus = z.enum(["ready", "running", "failed", "ended"]);
export type SessionStatus = z.infer<typeof SessionStatus>;

/** Words of older gateways and clients, and the status each one means (contract section 1.10). */
const STATUS_WORDS: Record<string, SessionStatus> = {
  ready: "ready",
  idle: "ready",
  resting: "ready",
  running: "running",
  provisioning: "running",
  starting: "running",
  failed: "failed",
  ended: "ended",
  completed: "ended",
  terminated: "ended",
  archived: "ended",
  stale: "ended",
};
export function canonicalStatus(word: string): SessionStatus | undefined {
  return STATUS_WORDS[word];
}

export const Repo = z.looseObject({
  name: z.string().optional(),
  framework: z.string().optional(),
  languages: z.array(z.string()).optional(),
  signals: z.array(z.string()).optional(),
});

export const Requirements = z.looseObject({
  runtime: z.string().optional(),
  package_install: z.boolean().optional(),
  public_preview: z.boolean().optional(),
  persistence_level: z.enum(["none", "low", "medium", "high"]).optional(),
  timeout_minutes: z.number().positive().optional(),
  browser: z.boolean().optional(),
  desktop: z.boolean().optional(),
  region: z.string().max(64).optional(),
  labels: z
    .record(z.string().max(128), z.string().max(256))
    .optional()
    .describe("Labels that the compute must carry, each with this value."),
});
export type Requirements = z.infer<typeof Requirements>;

export const Policy = z.looseObject({
  mode: z.enum(["balanced", "fastest", "cheapest", "resilient", "pinned"]).optional(),
  pinned_provider: z.string().optional(),
  allowed_providers: z.array(z.string()).optional(),
  max_startup_ms: z.number().positive().optional(),
  max_cost_usd: z.number().nonnegative().optional(),
  canary: z
    .looseObject({
      share: z
        .number()
        .min(0)
        .max(0.2)
        .describe("The share of creates that may try a candidate that is not first."),
      max_cost_usd: z.number().nonnegative().optional().describe("The most that one such create may cost."),
    })
    .optional(),
});
export type Policy = z.infer<typeof Policy>;

/** Small enough to keep with every session; in UTF-16 units of its JSON. */
export const MAX_METADATA_LENGTH = 65_536;
export const Metadata = z
  .record(z.string(), z.unknown())
  .refine((value) => JSON.stringify(value).length <= MAX_METADATA_LENGTH, {
    message: `is larger than ${MAX_METADATA_LENGTH} characters of JSON`,
  });
export type Metadata = z.infer<typeof Metadata>;

/** Names and values to find sessions by. */
export const Labels = z
  .record(z.string().regex(/^[\w.-]{1,63}$/, "is not a label's name"), z.string().max(256))
  .refine((labels) => Object.keys(labels).length <= 32, { message: "has more than 32 labels" });
export type Labels = z.infer<typeof Labels>;

/** The fields of a create request that this gateway acts on or keeps. */
const createFields = {
  task: z.string().max(100_000).optional(),
  workload: z.string().max(64).optional(),
  session_name: z.string().max(256).optional(),
  session_type: z.string().max(64).optional(),
  repo: Repo.optional(),
  requirements: Requirements.optional(),
  policy: Policy.optional(),
  target_compute_id: z.string().max(128).optional(),
  compute: z
    .looseObject({ compute_id: z.string().max(128).optional(), provider: z.string().max(64).optional() })
    .nullable()
    .optional()
    .describe("Where to run; null makes a session that is a transcript only."),
  harness: z.string().max(64).optional(),
  agent: z.string().max(256).optional(),
  app_slug: z.string().max(128).optional(),
  project_slug: z.string().max(128).optional(),
  environment_slug: z.string().max(128).optional(),
  metadata: Metadata.optional(),
  labels: Labels.optional(),
  parent_session_id: z.string().max(128).optional().describe("The session that started this one."),
  idle_timeout_minutes: z
    .number()
    .positive()
    .max(43_200)
    .optional()
    .describe("After so long without activity the session rests: its compute is released, its record stays."),
};
/** Body of `POST /v2/sessions`. Unknown fields are kept out, not refused: clients of other versions send their own. */
export const CreateSessionRequest = z.looseObject(createFields).meta({ id: "CreateSessionRequest" });
export type CreateSessionRequest = z.infer<typeof CreateSessionRequest>;

/** Top-level fields of a create request that this gateway does not know. */
export function unknownCreateFields(request: CreateSessionRequest): string[] {
  return Object.keys(request).filter((field) => !(field in createFields));
}

/** A create request without the top-level fields that this gateway does not know: they may hold anything, secrets too. */
export function knownCreateFields(request: CreateSessionRequest): CreateSessionRequest {
  return Object.fromEntries(Object.entries(request).filter(([field]) => field in createFields));
}

/** The report inside the 409 of a create that found no compute (contract section 1.6). */
export const RecommendationReport = Routing.extend({
  candidates: z.array(
    z.looseObject({
      provider: z.string(),
      compute_id: z.string().optional(),
      executable: z.boolean(),
      score: z.number(),
      reasons: z.array(z.string()),
    }),
  ),
  next_steps: z.array(z.string()),
}).meta({ id: "RecommendationReport" });
export type RecommendationReport = z.infer<typeof RecommendationReport>;

/** Answer of `POST /v2/sessions`, in snake_case as the seed shows it. */
export const CreatedSession = z
  .looseObject({
    session_id: z.string(),
    session_name: z.string(),
    status: z.string(),
    provider: z.string(),
    compute_id: z.string().nullable(),
    sandbox_id: z.string().nullable(),
    metrics: SessionMetrics,
    routing: Routing,
    attempts: z
      .array(Attempt)
      .optional()
      .describe("The tries of this create, when the first one was not it."),
    warnings: z.array(z.string()).optional(),
  })
  .meta({ id: "CreatedSession" });
export type CreatedSession = z.infer<typeof CreatedSession>;

/** One line of `GET /v2/sessions`, in camelCase as the public clients read it. */
export const SessionSummary = z.looseObject({
  sessionId: z.string(),
  sessionName: z.string(),
  status: z.string(),
  provider: z.string().optional(),
  computeId: z.string().nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
  workload: z.string().nullable().optional(),
  task: z.string().nullable().optional(),
  harness: z.string().nullable().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  messageCount: z.number().int(),
});
export type SessionSummary = z.infer<typeof SessionSummary>;

/** `next_cursor` is absent on the last page. */
export const SessionList = z.looseObject({
  sessions: z.array(SessionSummary),
  next_cursor: z.string().optional(),
});
export type SessionList = z.infer<typeof SessionList>;

/** `GET /v2/sessions/:id` (contract section 1.7). `transcriptTotal` counts all entries, whatever was asked for. */
export const SessionRecord = SessionSummary.partial({ messageCount: true }).extend({
  sandboxId: z.string().nullable().optional(),
  endReason: z.string().nullable().optional(),
  parentSessionId: z.string().nullable().optional(),
  pausedAt: z.string().nullable().optional().describe("Since when its compute is released."),
  deadlineAt: z.string().nullable().optional().describe("When it ends by itself."),
  metrics: SessionMetrics.optional(),
  routing: Routing.optional(),
  transcript: z.array(TranscriptEntry).default([]),
  transcriptTotal: z.number().int().optional(),
});
export type SessionRecord = z.infer<typeof SessionRecord>;

export const ListSessionsQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(20),
  status: z.string().optional(),
  source: z.string().optional(),
  provider: z.string().max(64).optional(),
  label: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe("`NAME=VALUE`, may be repeated: sessions that carry all of them."),
  cursor: z.string().max(256).optional(),
});
export type ListSessionsQuery = z.infer<typeof ListSessionsQuery>;

/** Which transcript entries a read returns; the newest 200 when nothing is said. */
export const TranscriptQuery = z.object({
  tail: z.coerce.number().int().min(0).max(10_000).optional(),
  since: z.coerce.number().int().min(0).optional(),
  limit: z.coerce.number().int().min(1).max(10_000).optional().describe("At most this many, with `since`."),
  full: z.enum(["0", "1", "true", "false"]).optional(),
  min_trust: EntrySource.optional().describe(
    "Only entries of this source and of more trusted ones: user, own_tool, model, external.",
  ),
});
export type TranscriptQuery = z.infer<typeof TranscriptQuery>;

export const PatchSessionRequest = z.object({ metadata: Metadata.default({}), labels: Labels.optional() });

/** Body of `POST /v2/sessions/:id/pause`. */
export const PauseRequest = z.strictObject({
  discard_files: z
    .boolean()
    .default(false)
    .describe("Pause also where the provider cannot keep the files: they are lost then."),
});
export type PauseRequest = z.infer<typeof PauseRequest>;

/** What goes along to another compute. */
const carryFields = {
  carry: z
    .enum(["auto", "never"])
    .default("auto")
    .describe("`auto` takes the working folder along when both computes can."),
  leave_secrets: z
    .boolean()
    .default(false)
    .describe("Files that look like secrets stay behind, instead of stopping the move."),
  skip_ignored: z.boolean().default(false).describe("Leaves behind what git ignores."),
  env: z
    .record(z.string(), z.string())
    .refine((env) => JSON.stringify(env).length <= MAX_METADATA_LENGTH, {
      message: `is larger than ${MAX_METADATA_LENGTH} characters of JSON`,
    })
    .optional()
    .describe(
      "Variables for the runs on the other compute, as `metadata.env` at create. Values are not kept, so those of before do not go along.",
    ),
};
const wantedCompute = z
  .looseObject({ compute_id: z.string().max(128).optional(), provider: z.string().max(64).optional() })
  .nullable();

/** Body of `POST /v2/sessions/:id/resume`: on the same compute, or on another. */
export const ResumeRequest = z.looseObject({ compute: wantedCompute.optional(), ...carryFields });
export type ResumeRequest = z.infer<typeof ResumeRequest>;

/** Body of `POST /v2/sessions/:id/compute` and `/change-compute`. */
export const ChangeComputeRequest = z
  .looseObject({
    compute: wantedCompute
      .optional()
      .describe("Null releases the compute: the session keeps a transcript only."),
    compute_priority: z.array(z.string().max(128)).min(1).max(32).optional(),
    ...carryFields,
  })
  .refine(({ compute, compute_priority }) => (compute === undefined) !== (compute_priority === undefined), {
    message: 'has to have either "compute", such as {"compute_id": "cmp_..."}, or "compute_priority"',
  });
export type ChangeComputeRequest = z.infer<typeof ChangeComputeRequest>;

/** Body of `POST /v2/sessions/:id/status`. */
export const StatusRequest = z.looseObject({
  status: z.string().max(64),
  end_reason: z.string().max(256).optional(),
});

/** Answer of pause, resume, compute and change-compute. */
export const SessionMoved = z
  .looseObject({
    session_id: z.string(),
    status: z.string(),
    provider: z.string(),
    compute_id: z.string().nullable(),
    sandbox_id: z.string().nullable(),
    paused: z.boolean(),
    carried: z
      .looseObject({
        tree_hash: z.string(),
        files: z.number().int(),
        bytes_total: z.number(),
        bytes_sent: z.number(),
        left_behind: z.array(z.string()).describe("What was not taken along, and why; the first of them."),
        left_behind_count: z.number().int(),
      })
      .nullable()
      .optional(),
    routing: Routing.optional(),
    attempts: z.array(Attempt).optional(),
    warnings: z.array(z.string()).optional(),
  })
  .meta({ id: "SessionMoved" });
export type SessionMoved = z.infer<typeof SessionMoved>;
