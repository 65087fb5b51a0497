import type { KillReceipt, RunStatus, SecretUse } from "../../protocol/runs.js";
import type { RedactMode } from "../../redaction/redaction.js";
import type { NamedSecret } from "../../redaction/secret-patterns.js";
import type { Command } from "../host/command.js";
import type { Confinement } from "../host/confinement.js";

/** Both ends say it first. A relay speaks with a keeper of the same number only. */
export const KEEPER_PROTOCOL = 2;

export const STREAMS = ["stdout", "stderr"] as const;
export type StreamName = (typeof STREAMS)[number];
export type Offsets = Record<StreamName, number>;

/** A run as the relay orders it. Input, if there is some at once, is the frame's payload. */
export interface RunOrder {
  run_id: string;
  sandbox_id: string;
  command: Command;
  cwd: string;
  /** On top of the sandbox's environment. */
  envs: Record<string, string>;
  timeout_ms: number;
  background: boolean;
  has_stdin: boolean;
  stdin_open: boolean;
  /** What is taken out of the output before it is kept. */
  redact: RedactMode;
  /** Values that were resolved for it: they are in `envs` too, and in no file. */
  secrets: NamedSecret[];
  secrets_used?: SecretUse[] | undefined;
  /** What it may see and use; undefined where the machine does not confine its runs. */
  confinement?: Confinement | undefined;
}

/** What is known of a run. Times are milliseconds since 1970. */
export interface RunState {
  run_id: string;
  sandbox_id: string;
  background: boolean;
  status: RunStatus;
  pid: number | null;
  started_at: number;
  ended_at: number | null;
  exit_code: number | null;
  signal: string | null;
  duration_ms: number | null;
  stdout_bytes: number;
  stderr_bytes: number;
  end_reason: string | null;
  receipt?: KillReceipt | undefined;
  secrets_used?: SecretUse[] | undefined;
}

/** What a follower wants of a run's output: from where, and whether it stays until the end. */
export interface FollowOrder {
  offsets: Offsets;
  /** Only this stream. */
  only?: StreamName | undefined;
  /** Up to this offset of `only`, and without waiting for more. */
  until?: number | undefined;
  credit: number;
}

/** Relay → keeper. Those with an `id` get a `reply`. */
export type Ask =
  | {
      op: "hello";
      protocol: number;
      software: string;
      max_runs: number;
      grace_ms: number;
      kill_grace_ms: number;
    }
  | { op: "sandbox"; sandbox_id: string; folder: string; env: Record<string, string>; warm: boolean }
  | { op: "start"; id: number; order: RunOrder; follow?: (FollowOrder & { sub: number }) | undefined }
  | { op: "follow"; id: number; run_id: string; sub: number; follow: FollowOrder }
  | { op: "credit"; sub: number; bytes: number }
  /** `lost`: the one who followed may come back. `gone`: nobody wants a foreground run any more. */
  | { op: "unfollow"; sub: number; why: "lost" | "gone" }
  | { op: "cancel"; id: number; run_id: string; reason: string }
  | { op: "stdin"; id: number; run_id: string; offset?: number | undefined; close: boolean }
  | { op: "states"; id: number; run_ids: string[] | null }
  | { op: "end_sandbox"; id: number; sandbox_id: string }
  /** Ends every run, and the keeper. */
  | { op: "end_all"; id: number };

/** Keeper → relay. */
export type Tell =
  | { op: "hello"; protocol: number; software: string; pid: number }
  | { op: "reply"; id: number; value: unknown }
  | { op: "refusal"; id: number; error: Record<string, unknown>; status: number }
  /** Output follows as the payload. */
  | { op: "output"; sub: number; stream: StreamName; offset: number }
  | { op: "gap"; sub: number; stream: StreamName; offset: number; bytes: number }
  /** Everything was told. `state` says how the run ended, or with `until`, how it is. */
  | { op: "end"; sub: number; state: RunState }
  /** A run has ended that nobody followed, or one in the background. */
  | { op: "ended"; state: RunState };
