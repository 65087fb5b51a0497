import { z } from "zod";

/** `GET /v2/sessions/:id/digest`. */
export const DigestQuery = z.object({
  max_tokens: z.coerce
    .number()
    .int()
    .min(200)
    .max(20_000)
    .default(1_000)
    .describe("About four bytes each; what matters least is left out first."),
});
export type DigestQuery = z.infer<typeof DigestQuery>;

/** A command that was run, by cerver (`run_id`) or, as the transcript tells it, by somebody else. */
export const DigestCommand = z.looseObject({
  command: z.string().describe("Its first line, cut."),
  outcome: z.string().describe("`exit 0`, `failed`, `running`, `lost`; `unknown` when nothing tells."),
  run_id: z.string().optional(),
  seq: z.number().int().optional(),
});
export type DigestCommand = z.infer<typeof DigestCommand>;

export const ClaimKind = z.enum(["tests", "build", "lint", "types", "deploy"]);
export type ClaimKind = z.infer<typeof ClaimKind>;

/** Something the model said is so, with nothing on the record that shows it. */
export const UnbackedClaim = z.looseObject({
  kind: z.string().describe("tests, build, lint, types or deploy."),
  text: z.string(),
  seq: z.number().int(),
  why: z
    .string()
    .describe("`no_run`, `run_failed` (the last one did not succeed), `changed_since` (files were)."),
});
export type UnbackedClaim = z.infer<typeof UnbackedClaim>;

/** What a session is about and where it stands, from its record alone: no model has read it. */
export const SessionDigest = z
  .looseObject({
    session_id: z.string(),
    session_name: z.string(),
    status: z.string(),
    total: z.number().int().describe("How many entries the transcript has."),
    from_seq: z.number().int().describe("Entries before this one were not looked at, the goal aside."),
    goal: z.string().nullable().describe("What the user asked for first."),
    last_request: z
      .string()
      .nullable()
      .describe("What the user asked for last, when that is something else."),
    last_state: z.string().nullable().describe("What the model said last."),
    unbacked_claims: z.array(UnbackedClaim),
    failures: z.array(DigestCommand.extend({ last_line: z.string() })),
    open_questions: z.array(z.looseObject({ text: z.string(), seq: z.number().int() })),
    commands: z.array(DigestCommand).describe("Newest last."),
    files: z.array(z.string()).describe("Touched by tools or commands, newest last."),
    left_out: z.number().int().describe("How many items did not fit."),
  })
  .meta({ id: "SessionDigest" });
export type SessionDigest = z.infer<typeof SessionDigest>;
