import { z } from "zod";
import { RunStatus } from "./runs.js";
import { TranscriptEntry } from "./transcript.js";

/**
 * One piece of news of a session or a compute, as `GET /v2/events`, `GET /v2/sessions/:id/events` and the websocket
 * `/v2/sessions/:id/stream/ws` tell it. News is not kept: who connects late reads the record.
 */
export const SessionNews = z
  .discriminatedUnion("type", [
    z.object({
      type: z.literal("session"),
      session_id: z.string(),
      change: z.enum(["created", "changed", "moved", "paused", "resumed", "ended"]),
    }),
    z.object({ type: z.literal("run"), session_id: z.string(), run_id: z.string(), status: RunStatus }),
    z.object({
      type: z.literal("transcript"),
      session_id: z.string(),
      transcript_total: z.number().int(),
      entries: z.array(TranscriptEntry),
    }),
    z.object({
      type: z.literal("stream_event"),
      session_id: z.string(),
      event: z.unknown().describe("What an agent on a public relay told, as it is (contract section 4.2)."),
    }),
    z.object({
      type: z.literal("compute"),
      compute_id: z.string(),
      change: z
        .enum(["attached", "ready", "offline", "removed"])
        .describe(
          "`attached` also tells that its facts have changed. Only `GET /v2/events` tells of computes.",
        ),
    }),
    z.object({
      type: z.literal("missed"),
      session_id: z.string().optional(),
      count: z.number().int().describe("So much was left out, as the reader was too slow. Read the record."),
    }),
  ])
  .meta({ id: "SessionNews" });
export type SessionNews = z.infer<typeof SessionNews>;
