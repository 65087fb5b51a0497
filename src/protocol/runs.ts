import { z } from "zod";
import {
  DEFAULT_BACKGROUND_TIMEOUT,
  DEFAULT_TIMEOUT,
  MAX_CODE_LENGTH,
  MAX_STDIN_LENGTH,
} from "./run-limits.js";

/** A name that a shell could export (POSIX.1-2017, section 8.1). */
export const EnvironmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, "is not a variable name, such as STRIPE_KEY");
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
      .optional()
      .describe("Seconds until the whole process tree is ended: 30 unless said, 3600 in the background."),
    envs: Environment.optional().describe(
      "Environment variables for this run alone. A value that is wholly `secret://NAME` or `secret://BACKEND/NAME` is put in on the machine where the run starts; the gateway never has it.",
    ),
    secrets: z
      .array(EnvironmentName)
      .max(64)
      .optional()
      .describe(
        "Names of secrets of the machine where the run starts: each is a variable of that name. Their values are taken out of the output.",
      ),
    cwd: z
      .string()
      .min(1)
      .max(4096)
      .refine(withoutNul, NUL)
      .optional()
      .describe("Working folder, relative to the session's own. It may not leave it."),
    runtime: Runtime.default("shell").describe("`node` runs the text as an ES module with top-level await."),
    stdin: z.string().max(MAX_STDIN_LENGTH).optional().describe("Input; without it stdin is /dev/null."),
    stdin_open: z
      .boolean()
      .optional()
      .describe("Keeps stdin open for `POST .../runs/:run_id/stdin`, until `.../stdin/close`."),
    background: z
      .boolean()
      .optional()
      .describe("The run is its own: it goes on when the caller hangs up, and when the relay is gone."),
  })
  .meta({ id: "RunRequest" });
export type RunRequest = z.infer<typeof RunRequest>;
/** As a caller writes it, before defaults are filled in. */
export type RunRequestInput = z.input<typeof RunRequest>;

/** Seconds that a run may take. */
export function timeoutOf({ timeout, background }: Pick<RunRequest, "timeout" | "background">): number {
  return timeout ?? (background ? DEFAULT_BACKGROUND_TIMEOUT : DEFAULT_TIMEOUT);
}

/** The outcomes that are final. `lost` is not: it settles when the machine is back. */
export const ENDED = [
  "succeeded",
  "failed",
  "cancelled",
  "timed_out",
] as const satisfies readonly RunStatus[];
export function hasEnded(status: RunStatus): boolean {
  return (ENDED as readonly RunStatus[]).includes(status);
}

/** How the text of an output field is to be read; absent means UTF-8. */
export const OutputEncoding = z.literal("base64");

/** A secret that a run was given: its name and where it came from, never its value. */
export const SecretUse = z.object({ name: z.string(), backend: z.string() }).meta({ id: "SecretUse" });
export type SecretUse = z.infer<typeof SecretUse>;
/** The secrets that a machine gave to a run, as it reports them. */
export const SecretsUsed = z.array(SecretUse).max(256).optional();

/** What a run printed, bounded by `MAX_INLINE_OUTPUT_BYTES` per stream. */
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
  output: z.string().optional().describe("Where all of it can be read, when it was truncated."),
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
      type: z.literal("gap"),
      stream: z.enum(["stdout", "stderr"]),
      offset: z.number().int().describe("The first byte that is missing."),
      bytes: z.number().int().describe("How many are missing: the journal of a run is bounded."),
    }),
    z.object({
      type: z.literal("exit"),
      ...RunSummary.omit({ truncated: true, output: true }).shape,
      exit_code: z.number().int().nullable(),
      signal: z.string().nullable().optional(),
      end_reason: z.string().optional().describe("Why it ended, as in the run's record."),
      secrets_used: SecretsUsed,
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

/** A process as a receipt names it. */
const ReceiptProcess = z.looseObject({
  pid: z.number().int(),
  ppid: z.number().int().optional(),
  command: z.string(),
  why: z.string().describe("How it belongs to the run; of one that is alive, why it is."),
});

/** What ending a run's processes found and did. Times are milliseconds since the ending began. */
export const KillReceipt = z
  .looseObject({
    method: z
      .enum(["cgroup", "mark", "group"])
      .describe(
        "How the tree is known: its cgroup, the mark in its environment, or its process group alone.",
      ),
    found: z.array(ReceiptProcess).describe("What was alive when it began or showed up meanwhile."),
    found_total: z.number().int().describe("How many those were; the list is bounded."),
    signals: z.array(z.object({ signal: z.string(), pids: z.array(z.number().int()), at_ms: z.number() })),
    alive: z.array(ReceiptProcess).describe("What is alive now."),
    ports_freed: z.array(
      z.object({
        port: z.number().int(),
        protocol: z.string(),
        address: z.string(),
        pid: z.number().int(),
      }),
    ),
    duration_ms: z.number(),
  })
  .meta({ id: "KillReceipt" });
export type KillReceipt = z.infer<typeof KillReceipt>;

/** `GET /v2/sessions/:id/runs/:run_id`. */
export const RunRecord = z
  .looseObject({
    run_id: z.string(),
    session_id: z.string(),
    status: RunStatus,
    runtime: Runtime,
    background: z.boolean(),
    created_at: z.string(),
    started_at: z.string().nullable(),
    ended_at: z.string().nullable(),
    since: z.string().optional().describe("With `lost`: when the machine went out of reach."),
    exit_code: z.number().int().nullable(),
    signal: z.string().nullable(),
    duration_ms: z.number().nullable(),
    timeout: z.number().describe("Seconds."),
    stdout_bytes: z.number().int(),
    stderr_bytes: z.number().int(),
    end_reason: z
      .string()
      .nullable()
      .describe(
        "`exit`, `signal`, `timeout`, `cancelled`, `session_closed`, `abandoned` (nobody came back for it in time), " +
          "`never_started`, `keeper_lost` (what held it on its machine died, so nobody knows); null while it runs.",
      ),
    receipt: KillReceipt.optional(),
  })
  .meta({ id: "RunRecord" });
export type RunRecord = z.infer<typeof RunRecord>;

/** `next_cursor` is absent on the last page. */
export const RunList = z.looseObject({ runs: z.array(RunRecord), next_cursor: z.string().optional() });
export type RunList = z.infer<typeof RunList>;

export const ListRunsQuery = z.object({
  status: RunStatus.optional(),
  limit: z.coerce.number().int().min(1).max(200).default(20),
  cursor: z.string().max(256).optional(),
});
export type ListRunsQuery = z.infer<typeof ListRunsQuery>;

/** Where a stream continues. */
export const StreamQuery = z.object({
  stdout_offset: z.coerce.number().int().min(0).optional(),
  stderr_offset: z.coerce.number().int().min(0).optional(),
});

export const OutputQuery = z.object({ stream: z.enum(["stdout", "stderr"]).default("stdout") });

/** Body of `POST .../runs/:run_id/stdin` as JSON; any other content type is the input itself. */
export const StdinRequest = z.strictObject({
  data: z.string().max(MAX_STDIN_LENGTH),
  encoding: OutputEncoding.optional(),
});
export const StdinAnswer = z.looseObject({ run_id: z.string(), stdin_bytes: z.number().int() });
export type StdinAnswer = z.infer<typeof StdinAnswer>;

/** Answer of `POST .../runs/:run_id/cancel`. */
export const CancelAnswer = RunRecord.extend({ receipt: KillReceipt }).meta({ id: "CancelAnswer" });
export type CancelAnswer = z.infer<typeof CancelAnswer>;

/** The id of an event is where both streams stand after it, so that `Last-Event-ID` says where to go on. */
export function parseEventId(id: string | undefined): { stdout: number; stderr: number } | undefined {
  const match = /^(\d{1,15}):(\d{1,15})$/.exec(id ?? "");
  return match ? { stdout: Number(match[1]), stderr: Number(match[2]) } : undefined;
}
