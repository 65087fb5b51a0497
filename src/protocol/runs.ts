import { z } from "zod";

/** The longest script text a run takes, in characters. */
export const MAX_CODE_LENGTH = 1_000_000;
/** The longest input a run takes, in characters. */
export const MAX_STDIN_LENGTH = 8_000_000;
/** Output kept inline in a `run` answer, per stream, in bytes: half from the head, half from the tail. */
export const MAX_INLINE_OUTPUT_BYTES = 1_048_576;
/** The exit code of a run that was ended by its timeout, as `timeout(1)` reports it. */
export const TIMEOUT_EXIT_CODE = 124;

/** A name that a shell could export (POSIX.1-2017, section 8.1). */
export const EnvironmentName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, "is not a variable name");
/** The system takes no NUL in arguments, variables and paths. */
const withoutNul = (text: string) => !text.includes("\0");
const NUL = { message: "may not hold a NUL character" };
export const Environment = z.record(EnvironmentName, z.string().max(131_072).refine(withoutNul, NUL));

export const Runtime = z.enum(["shell", "node"]);
export type Runtime = z.infer<typeof Runtime>;

/**
 * `queued` and `running` are on the way; `succeeded`, `failed`, `cancelled` and `timed_out` come from a wait
 * status only; `lost` says that the machine is out of reach and the outcome unknown.
 */
export const RunStatus = z.enum([
  "queued",
  "running",
  "succeeded",
  "failed",
  "cancelled",
  "timed_out",
  "lost",
]);
export type RunStatus = z.infer<typeof RunStatus>;

/** Body of `POST /v2/sessions/:id/run` and `/run/stream`. Unknown fields are refused by name. */
export const RunRequest = z
  .strictObject({
    code: z
      .string()
      .min(1)
      .max(MAX_CODE_LENGTH)
      .refine(withoutNul, NUL)
      .describe("Shell text, or an ES module's text with `runtime: node`."),
    timeout: z
      .number()
      .positive()
      .max(86_400)
      .default(30)
      .describe("Seconds until the whole process tree is ended."),
    envs: Environment.optional().describe("Environment variables for this run alone."),
    cwd: z
      .string()
      .min(1)
      .max(4096)
      .refine(withoutNul, NUL)
      .optional()
      .describe("Working folder, relative to the session's own. It may not leave it."),
    runtime: Runtime.default("shell").describe("`node` runs the text as an ES module with top-level await."),
    stdin: z.string().max(MAX_STDIN_LENGTH).optional().describe("Input; without it stdin is /dev/null."),
  })
  .meta({ id: "RunRequest" });
export type RunRequest = z.infer<typeof RunRequest>;
/** As a caller writes it, before defaults are filled in. */
export type RunRequestInput = z.input<typeof RunRequest>;

/** How the text of an output field is to be read; absent means UTF-8. */
export const OutputEncoding = z.literal("base64");

/** What a run printed, bounded by {@link MAX_INLINE_OUTPUT_BYTES} per stream. */
export const RunOutput = z.object({
  stdout: z.string(),
  stderr: z.string(),
  stdout_encoding: OutputEncoding.optional(),
  stderr_encoding: OutputEncoding.optional(),
  exit_code: z.number().int().nullable().describe("128 + n after signal n; 124 after a timeout."),
  signal: z.string().nullable().optional().describe("The signal that ended the process, such as SIGKILL."),
});
export type RunOutput = z.infer<typeof RunOutput>;

/** What is known of an ended run, beside its output. */
const RunSummary = z.object({
  run_id: z.string(),
  status: RunStatus,
  duration_ms: z.number(),
  stdout_bytes: z.number().int().describe("All bytes printed, kept or not."),
  stderr_bytes: z.number().int(),
  truncated: z.boolean().describe("Some of the output is not in `result`; the text says how much."),
});

/** Answer of `POST /v2/sessions/:id/run`. A non-zero exit and a timeout are answers, not errors. */
export const RunAnswer = RunSummary.extend({
  session_id: z.string(),
  result: RunOutput,
}).meta({ id: "RunAnswer" });
export type RunAnswer = z.infer<typeof RunAnswer>;

/**
 * One event of a streamed run: the `data` of a server-sent event of the same name, or a line of NDJSON.
 *
 * `exit` is the last event and comes from a wait status only. `error` is last when the outcome is unknown.
 */
export const RunEvent = z
  .discriminatedUnion("type", [
    z.object({
      type: z.literal("start"),
      run_id: z.string(),
      runtime: Runtime,
      pid: z.number().int().optional(),
      cwd: z.string().optional(),
    }),
    ...(["stdout", "stderr"] as const).map((stream) =>
      z.object({
        type: z.literal(stream),
        offset: z.number().int().describe("Bytes of this stream before this event."),
        data: z.string(),
        encoding: OutputEncoding.optional().describe(
          "Present when `data` is base64, for bytes that are not UTF-8.",
        ),
      }),
    ),
    z.object({
      type: z.literal("exit"),
      ...RunSummary.omit({ truncated: true }).shape,
      exit_code: z.number().int().nullable(),
      signal: z.string().nullable().optional(),
    }),
    z.object({
      type: z.literal("error"),
      run_id: z.string(),
      status: RunStatus.optional(),
      error: z.string(),
      code: z.string(),
      hint: z.string().optional(),
    }),
  ])
  .meta({ id: "RunEvent" });
export type RunEvent = z.infer<typeof RunEvent>;
