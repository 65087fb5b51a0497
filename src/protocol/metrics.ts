import { z } from "zod";

export const EngagementLabel = z.enum(["idle", "warming", "engaged", "deep"]);
export type EngagementLabel = z.infer<typeof EngagementLabel>;

/** Session metrics (contract section 1.11). Times in milliseconds; null until first measured. */
export const SessionMetrics = z
  .object({
    provision_time_ms: z.number().nullable(),
    time_to_first_exec_ms: z.number().nullable(),
    last_exec_latency_ms: z.number().nullable(),
    average_exec_latency_ms: z.number().nullable(),
    average_stream_open_latency_ms: z.number().nullable(),
    total_exec_count: z.number().int(),
    total_stream_count: z.number().int(),
    interaction_count: z.number().int(),
    session_length_ms: z.number(),
    cost_estimate_usd: z.number(),
    uptime_percent: z.number().nullable().describe("Share of the compute's registered life it was online."),
    predicted_startup_ms: z.number().nullable(),
    engagement_score: z.number(),
    engagement_label: EngagementLabel,
  })
  .meta({ id: "SessionMetrics" });
export type SessionMetrics = z.infer<typeof SessionMetrics>;
