import { z } from "zod";

export const Role = z.enum(["user", "assistant", "tool", "system"]);
export type Role = z.infer<typeof Role>;

/**
 * Where an entry's words come from, most trusted first: the person, cerver's own record of a run, the model, and what
 * was read from elsewhere (a web page, a file, another agent).
 */
export const EntrySource = z.enum(["user", "own_tool", "model", "external"]);
export type EntrySource = z.infer<typeof EntrySource>;

/** The sources that are trusted as much as this one, or more. */
export function sourcesFrom(least: EntrySource): EntrySource[] {
  return EntrySource.options.slice(0, EntrySource.options.indexOf(least) + 1);
}

export const TranscriptFormat = z.enum(["text", "markdown", "jsonl"]);
export type TranscriptFormat = z.infer<typeof TranscriptFormat>;

/** `GET /v2/sessions/:id/export`. */
export const ExportQuery = z.object({
  format: TranscriptFormat.default("text").describe("`jsonl` has one entry as JSON on each line."),
  min_trust: EntrySource.optional().describe("Only entries of this source and of more trusted ones."),
});
export type ExportQuery = z.infer<typeof ExportQuery>;

/** The longest text of one entry, in characters. Longer run output is cut, and the entry says so. */
export const MAX_ENTRY_LENGTH = 1_000_000;
/** How many entries one append may carry. */
export const MAX_ENTRIES_PER_APPEND = 1_000;
/** How many of the newest entries `GET /v2/sessions/:id` returns when it is not told otherwise. */
export const DEFAULT_TRANSCRIPT_ENTRIES = 200;

/** An entry as a client appends it (contract section 6). Only `tool_use` may have empty content. */
export const NewTranscriptEntry = z
  .object({
    role: Role,
    kind: z.string().min(1).max(64).default("text"),
    content: z.string().max(MAX_ENTRY_LENGTH).default(""),
    at: z.iso.datetime({ offset: true }).optional().describe("Stamped by the gateway when absent."),
    tool_id: z.string().max(256).optional(),
    tool_name: z.string().max(256).optional(),
    tool_input: z.unknown().optional(),
    is_error: z.boolean().optional(),
    run_id: z.string().max(128).optional(),
    source: EntrySource.optional().describe("Where its words come from; told by role and run when absent."),
    idempotency_key: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe("An entry with a key that this session has seen is not appended again."),
  })
  .refine((entry) => entry.content !== "" || entry.kind === "tool_use", {
    path: ["content"],
    message: "may be empty only when kind is tool_use",
  })
  .meta({ id: "NewTranscriptEntry" });
export type NewTranscriptEntry = z.infer<typeof NewTranscriptEntry>;

/** An entry as it is read. `seq` counts from 0 without gaps within its session. */
export const TranscriptEntry = z
  .looseObject({
    seq: z.number().int().optional(),
    role: z.string(),
    kind: z.string().default("text"),
    content: z.string().default(""),
    at: z.string().optional(),
    tool_id: z.string().optional(),
    tool_name: z.string().optional(),
    tool_input: z.unknown().optional(),
    is_error: z.boolean().optional(),
    run_id: z.string().optional(),
    source: z.string().optional(),
    redacted: z
      .number()
      .int()
      .optional()
      .describe("How many credentials were taken out of it: each stands as `[redacted:…]`."),
  })
  .meta({ id: "TranscriptEntry" });
export type TranscriptEntry = z.infer<typeof TranscriptEntry>;

/** Body of `POST /v2/sessions/:id/transcript`. */
export const AppendTranscriptRequest = z
  .object({ entries: z.array(NewTranscriptEntry).min(1).max(MAX_ENTRIES_PER_APPEND) })
  .meta({ id: "AppendTranscriptRequest" });

/** `appended` counts new entries; entries whose idempotency key was known are not among them. */
export const AppendTranscriptAnswer = z.looseObject({
  session_id: z.string(),
  appended: z.number().int(),
  transcript_total: z.number().int(),
});
export type AppendTranscriptAnswer = z.infer<typeof AppendTranscriptAnswer>;

/** Body of `POST /v2/sessions/:id/input`: appends exactly one user entry. */
export const InputRequest = z
  .object({
    content: z.string().min(1).max(MAX_ENTRY_LENGTH),
    role: z.literal("user").default("user"),
    idempotency_key: z.string().min(1).max(256).optional(),
  })
  .meta({ id: "InputRequest" });
