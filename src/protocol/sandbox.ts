import { z } from "zod";
import { KillReceipt, RunOutput, RunRequest, RunStatus, SecretsUsed } from "./runs.js";
import { Metadata } from "./sessions.js";

/** The longest file that travels through the API, in bytes of its content. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** The longest state object of a sandbox, in characters of JSON. */
export const MAX_STATE_LENGTH = 1_048_576;

/** Path prefix of the p69 provider surface that a relay serves (contract section 4.4). */
export const PROVIDER_PATH = "/api/cerver/provider";

/** Body of `POST /api/cerver/provider/sandboxes`. */
export const CreateSandboxRequest = z.looseObject({
  engine: z.string().default("shell"),
  sandbox_id: z
    .string()
    .regex(/^sbx_[0-9a-f]{32}$/)
    .optional()
    .describe(
      "The id that it shall have, where the compute lets others choose: the same one again makes no second.",
    ),
  timeout_ms: z.number().positive().optional(),
  metadata: Metadata.default({}),
});
export type CreateSandboxRequest = z.infer<typeof CreateSandboxRequest>;

/** Body of `POST /sandbox`: the compute layer without a session. */
export const NewSandboxRequest = CreateSandboxRequest.extend({
  provider: z.string().max(64).optional().describe("p69 unless said otherwise."),
  compute_id: z.string().max(128).optional().describe("One compute, or `provider_…` for a cloud provider."),
}).meta({ id: "NewSandboxRequest" });
export type NewSandboxRequest = z.infer<typeof NewSandboxRequest>;

/** Answer of `POST /sandbox`. */
export const SandboxAnswer = z
  .looseObject({
    sandbox_id: z.string(),
    provider: z.string(),
    compute_id: z.string(),
    status: z.string(),
    created_at: z.string(),
  })
  .meta({ id: "Sandbox" });
export type SandboxAnswer = z.infer<typeof SandboxAnswer>;

export const CreatedSandbox = z.looseObject({
  sandbox_id: z.string(),
  provider: z.string().optional(),
  status: z.string().optional(),
  created_at: z.string().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
});
export type CreatedSandbox = z.infer<typeof CreatedSandbox>;

/** A run as a compute is asked for it: the caller's words plus the id that the gateway made. */
export const SandboxRunRequest = RunRequest.extend({ run_id: z.string().max(128).optional() });
export type SandboxRunRequest = z.infer<typeof SandboxRunRequest>;

/** Answer of `POST .../sandboxes/:id/run` and `/install`. */
export const SandboxRunAnswer = z.looseObject({
  run_id: z.string(),
  success: z.boolean().describe("The exit code was 0."),
  status: RunStatus,
  ...RunOutput.shape,
  duration_ms: z.number(),
  stdout_bytes: z.number().int(),
  stderr_bytes: z.number().int(),
  truncated: z.boolean(),
  end_reason: z.string().optional(),
  receipt: KillReceipt.optional(),
  secrets_used: SecretsUsed,
  cwd: z.string().optional(),
});
export type SandboxRunAnswer = z.infer<typeof SandboxRunAnswer>;

/** Path prefix of the runs that a relay keeps, below {@link PROVIDER_PATH}. Public relays have no such thing. */
export const KEPT_RUNS_PATH = `${PROVIDER_PATH}/runs`;

/** What a relay knows of one run. */
export const KeptRun = z.looseObject({
  run_id: z.string(),
  sandbox_id: z.string(),
  status: RunStatus,
  pid: z.number().int().nullable(),
  started_at: z.number().describe("Milliseconds since 1970, by the clock of that machine."),
  ended_at: z.number().nullable(),
  exit_code: z.number().int().nullable(),
  signal: z.string().nullable(),
  duration_ms: z.number().nullable(),
  stdout_bytes: z.number().int(),
  stderr_bytes: z.number().int(),
  end_reason: z.string().nullable(),
  receipt: KillReceipt.optional(),
  secrets_used: SecretsUsed,
  /** The ends of the output of a run that has ended, as the transcript keeps them. */
  output: RunOutput.pick({
    stdout: true,
    stderr: true,
    stdout_encoding: true,
    stderr_encoding: true,
  }).optional(),
});
export type KeptRun = z.infer<typeof KeptRun>;

/** Body and answer of `POST .../runs/lookup`: runs that are not in the answer never began on this machine. */
export const LookupRequest = z.strictObject({ run_ids: z.array(z.string().max(128)).max(1000) });
export const LookupAnswer = z.looseObject({ runs: z.array(KeptRun) });

/** The header by which our relay says that its run events are this package's {@link RunEvent}s. */
export const RUN_EVENTS_HEADER = "x-cerver-run-events";

export const PackageManager = z.enum(["npm", "pip"]);
/** Body of `POST .../sandboxes/:id/install`. `package` is one name, with a version if wanted. */
export const InstallRequest = z.strictObject({
  package: z.string().min(1).max(256),
  manager: PackageManager.default("npm"),
  timeout: z.number().positive().max(3600).default(300),
  run_id: z.string().max(128).optional(),
});
export type InstallRequest = z.infer<typeof InstallRequest>;

export const FileEncoding = z.enum(["utf8", "base64"]);
export type FileEncoding = z.infer<typeof FileEncoding>;

/** Body of `PUT .../sandboxes/:id/files`. Folders on the way are made. */
export const WriteFileRequest = z.strictObject({
  path: z.string().min(1).max(4096),
  content: z.string().max(Math.ceil((MAX_FILE_BYTES * 4) / 3) + 4),
  encoding: FileEncoding.default("utf8"),
});
export type WriteFileRequest = z.infer<typeof WriteFileRequest>;

/** Query of `GET .../files`. */
export const FileQuery = z.object({
  path: z.string().min(1).max(4096),
  encoding: FileEncoding.default("utf8"),
});

/** Answer of `GET .../sandboxes/:id/files?path=&encoding=`. */
export const FileContent = z.looseObject({
  path: z.string(),
  content: z.string(),
  encoding: FileEncoding,
  size: z.number().int(),
});
export type FileContent = z.infer<typeof FileContent>;

export const SandboxState = z
  .record(z.string(), z.unknown())
  .refine((state) => JSON.stringify(state).length <= MAX_STATE_LENGTH, {
    message: `is larger than ${MAX_STATE_LENGTH} characters of JSON`,
  });
