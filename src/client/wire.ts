// Written by `npm run docs` from the schemas in src/protocol. What crosses the wire, as plain types.

export type Account = {
  account_id: string;
};

export type AccountLimits = {
  /** Estimated cloud spend in a calendar month (UTC), what open sessions may still cost included. */
  spend_per_month_usd?: number | null | undefined;
  /** Sessions that hold a compute at once. */
  max_sessions?: number | null | undefined;
};

export type AccountSpend = {
  /** Estimated cloud spend in a calendar month (UTC), what open sessions may still cost included. */
  spend_per_month_usd?: number | null | undefined;
  /** Sessions that hold a compute at once. */
  max_sessions?: number | null | undefined;
  /** Estimated spend of this month so far. */
  spent_usd: number;
  /** What open sessions may still cost beyond that. */
  reserved_usd: number;
  open_sessions: number;
};

export type ApiInfo = {
  service: string;
  version: string;
  /** Where the whole description is. */
  openapi: string;
  endpoints: {
    method: string;
    path: string;
    summary: string;
  }[];
};

export type AppendTranscriptAnswer = {
  session_id: string;
  appended: number;
  transcript_total: number;
};

export type AppendTranscriptRequest = {
  entries: NewTranscriptEntry[];
};

export type Attempt = {
  /** `cmp_…`, or `provider_…`. */
  candidate: string;
  provider: string;
  label: string;
  ok: boolean;
  provision_time_ms?: number | undefined;
  code?: string | undefined;
  error?: string | undefined;
};

export type CancelAnswer = {
  run_id: string;
  session_id: string;
  status: RunStatus;
  runtime: Runtime;
  background: boolean;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  /** With `lost`: when the machine went out of reach. */
  since?: string | undefined;
  exit_code: number | null;
  signal: string | null;
  duration_ms: number | null;
  /** Seconds. */
  timeout: number;
  stdout_bytes: number;
  stderr_bytes: number;
  /** `exit`, `signal`, `timeout`, `cancelled`, `session_closed`, `abandoned` (nobody came back for it in time), `never_started`, `keeper_lost` (what held it on its machine died, so nobody knows); null while it runs. */
  end_reason: string | null;
  receipt: KillReceipt;
};

export type ChangeComputeRequest = {
  /** Null releases the compute: the session keeps a transcript only. */
  compute?:
    | {
        compute_id?: string | undefined;
        provider?: string | undefined;
      }
    | null
    | undefined;
  compute_priority?: string[] | undefined;
  /** `auto` takes the working folder along when both computes can. */
  carry?: "auto" | "never" | undefined;
  /** Files that look like secrets stay behind, instead of stopping the move. */
  leave_secrets?: boolean | undefined;
  /** Leaves behind what git ignores. */
  skip_ignored?: boolean | undefined;
};

export type Compute = {
  compute_id: string;
  label: string;
  provider: string;
  kind: string;
  scope: string;
  status: string;
  last_heartbeat_at?: string | null | undefined;
  capabilities?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  owner_id?: string | undefined;
};

export type ComputeExecRequest = {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | undefined;
  /** A path of the relay, such as /api/cerver/provider. */
  path: string;
  query?: Record<string, string | number | boolean> | undefined;
  body?: unknown;
};

export type ComputeList = {
  computes: Compute[];
};

export type ComputeRemoved = {
  success: true;
  compute_id: string;
};

export type ComputeUse = {
  provider: string;
  compute_id: string;
  started_at: string;
  ended_at: string | null;
  seconds: number;
  /** Estimated by the provider's formula; so far, while it lasts. */
  cost_usd: number;
};

export type CreateKeyRequest = {
  label?: string | undefined;
  scopes?: Scope[] | undefined;
  /** Seconds from now. */
  expires_in?: number | undefined;
};

export type CreateSessionRequest = {
  task?: string | undefined;
  workload?: string | undefined;
  session_name?: string | undefined;
  session_type?: string | undefined;
  repo?: Repo | undefined;
  requirements?: Requirements | undefined;
  policy?: Policy | undefined;
  target_compute_id?: string | undefined;
  /** Where to run; null makes a session that is a transcript only. */
  compute?:
    | {
        compute_id?: string | undefined;
        provider?: string | undefined;
      }
    | null
    | undefined;
  harness?: string | undefined;
  agent?: string | undefined;
  app_slug?: string | undefined;
  project_slug?: string | undefined;
  environment_slug?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  labels?: Record<string, string> | undefined;
  /** The session that started this one. */
  parent_session_id?: string | undefined;
  /** After so long without activity the session rests: its compute is released, its record stays. */
  idle_timeout_minutes?: number | undefined;
};

export type CreatedKey = {
  key: string;
  label?: string | null | undefined;
  scopes?: string[] | undefined;
  expires_at?: string | null | undefined;
  project_id?: string | null | undefined;
  project_slug?: string | null | undefined;
  kind?: string | undefined;
};

export type CreatedSession = {
  session_id: string;
  session_name: string;
  status: string;
  provider: string;
  compute_id: string | null;
  sandbox_id: string | null;
  metrics: SessionMetrics;
  routing: Routing;
  /** The tries of this create, when the first one was not it. */
  attempts?: Attempt[] | undefined;
  warnings?: string[] | undefined;
};

export type DecisionCandidate = {
  /** `cmp_…`, or `provider_…` for a whole provider. */
  candidate: string;
  provider: string;
  label: string;
  executable: boolean;
  score: number;
  terms?:
    | Record<
        "startup" | "exec" | "reliability" | "cost" | "fit" | "load" | "locality",
        {
          /** 0 is worst, 1 is best; the same under every policy. */
          value: number;
          /** The value times the policy's weight for this term. */
          points: number;
        }
      >
    | undefined;
  estimates: Estimates;
  refusals: {
    code:
      | "offline"
      | "not_asked_for"
      | "provider_not_allowed"
      | "modelled_only"
      | "no_adapter"
      | "no_credentials"
      | "held"
      | "runtime"
      | "package_install"
      | "public_preview"
      | "persistence_level"
      | "desktop"
      | "browser"
      | "region"
      | "labels"
      | "timeout_minutes"
      | "max_startup_ms"
      | "max_cost_usd";
    reason: string;
  }[];
};

export type DeviceLogin = {
  device_code: string;
  user_code: string;
  verification_uri: string;
  expires_in: number;
  interval: number;
};

export type DevicePollAnswer = {
  status?: string | undefined;
  access_token?: string | undefined;
  account_id?: string | undefined;
  user_id?: string | undefined;
  error?: string | undefined;
  interval?: number | undefined;
};

export type Distribution = {
  n: number;
  p50: number;
  p95: number;
  p99: number;
  min: number;
  max: number;
} | null;

export type EnableProviderRequest = {
  provider: string;
  credentials: Record<string, string>;
};

export type EnabledProvider = {
  provider: string;
  label: string;
  /** What a session's `target_compute_id` may be to use it. */
  target_compute_id: string;
  /** The names of the credentials that are kept, sealed. */
  credentials: string[];
  /** When the vendor last said that they work. */
  verified_at: string;
  created_at: string;
};

export type EnabledProviderList = {
  providers: EnabledProvider[];
};

export type ErrorBody = {
  /** What happened, as a sentence. */
  error: string;
  /** The same, for programs. */
  code:
    | "invalid_request"
    | "unauthenticated"
    | "spend_limit"
    | "forbidden"
    | "not_found"
    | "session_not_found"
    | "compute_not_found"
    | "sandbox_not_found"
    | "run_not_found"
    | "file_not_found"
    | "method_not_allowed"
    | "conflict"
    | "no_compute"
    | "session_ended"
    | "link_expired"
    | "too_large"
    | "unsupported_media_type"
    | "range_not_satisfiable"
    | "too_many_requests"
    | "relay_full"
    | "unsupported"
    | "credentials_refused"
    | "provider_failed"
    | "compute_lost"
    | "compute_offline"
    | "gateway_unreachable"
    | "timed_out"
    | "secret_not_found"
    | "secret_refused"
    | "internal";
  /** What to do next, as a sentence or a command. */
  hint?: string | undefined;
  /** The same request may be sent again: nothing was done. */
  retryable?: boolean | undefined;
  /** Under this id the gateway's log has more. */
  request_id?: string | undefined;
};

export type Estimates = {
  startup: {
    p50_ms: number;
    p95_ms: number;
    n: number;
    source: string;
  } | null;
  exec: {
    p50_ms: number;
    p95_ms: number;
    n: number;
    source: string;
  } | null;
  success: {
    share: number;
    n: number;
    source: string;
  };
  cost: {
    usd: number;
    minutes: number;
    source: string;
  } | null;
};

export type FileContent = {
  path: string;
  content: string;
  encoding: "utf8" | "base64";
  size: number;
};

export type FileWritten = {
  success: true;
  path: string;
  size: number;
};

export type Health = {
  status: "ok";
  service: string;
  version: string;
};

export type HeartbeatRequest = {
  status?: string | undefined;
  capabilities?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
};

export type InputRequest = {
  content: string;
  role?: "user" | undefined;
  idempotency_key?: string | undefined;
};

export type InstallRequest = {
  package: string;
  manager?: "npm" | "pip" | undefined;
  timeout?: number | undefined;
  run_id?: string | undefined;
};

export type KeyList = {
  keys: {
    key_masked: string;
    label: string | null;
    scopes?: string[] | undefined;
    compute_id?: string | null | undefined;
    created_at: string;
    last_used_at: string | null;
    expires_at?: string | null | undefined;
    project_id?: string | null | undefined;
    project_slug?: string | null | undefined;
    project_name?: string | null | undefined;
  }[];
};

export type KeyRevoked = {
  success: true;
};

export type KillReceipt = {
  /** How the tree is known: its cgroup, the mark in its environment, or its process group alone. */
  method: "cgroup" | "mark" | "group";
  /** What was alive when it began or showed up meanwhile. */
  found: {
    pid: number;
    ppid?: number | undefined;
    command: string;
    /** How it belongs to the run; of one that is alive, why it is. */
    why: string;
  }[];
  /** How many those were; the list is bounded. */
  found_total: number;
  signals: {
    signal: string;
    pids: number[];
    at_ms: number;
  }[];
  /** What is alive now. */
  alive: {
    pid: number;
    ppid?: number | undefined;
    command: string;
    /** How it belongs to the run; of one that is alive, why it is. */
    why: string;
  }[];
  ports_freed: {
    port: number;
    protocol: string;
    address: string;
    pid: number;
  }[];
  duration_ms: number;
};

export type NewSandboxRequest = {
  engine?: string | undefined;
  /** The id that it shall have, where the compute lets others choose: the same one again makes no second. */
  sandbox_id?: string | undefined;
  timeout_ms?: number | undefined;
  metadata?: Record<string, unknown> | undefined;
  /** p69 unless said otherwise. */
  provider?: string | undefined;
  /** One compute, or `provider_…` for a cloud provider. */
  compute_id?: string | undefined;
};

export type NewTranscriptEntry = {
  role: "user" | "assistant" | "tool" | "system";
  kind?: string | undefined;
  content?: string | undefined;
  /** Stamped by the gateway when absent. */
  at?: string | undefined;
  tool_id?: string | undefined;
  tool_name?: string | undefined;
  tool_input?: unknown;
  is_error?: boolean | undefined;
  run_id?: string | undefined;
  /** Where its words come from; told by role and run when absent. */
  source?: "user" | "own_tool" | "model" | "external" | undefined;
  /** An entry with a key that this session has seen is not appended again. */
  idempotency_key?: string | undefined;
};

export type OrphanList = {
  orphans: {
    orphan_id: string;
    session_id: string | null;
    provider: string;
    compute_id: string;
    sandbox_id: string | null;
    found_at: string;
    why: string;
  }[];
};

export type PatchSessionRequest = {
  metadata?: Record<string, unknown> | undefined;
  labels?: Record<string, string> | undefined;
};

export type PauseRequest = {
  /** Pause also where the provider cannot keep the files: they are lost then. */
  discard_files?: boolean | undefined;
};

export type Policy = {
  mode?: "balanced" | "fastest" | "cheapest" | "resilient" | "pinned" | undefined;
  pinned_provider?: string | undefined;
  allowed_providers?: string[] | undefined;
  max_startup_ms?: number | undefined;
  max_cost_usd?: number | undefined;
  canary?:
    | {
        /** The share of creates that may try a candidate that is not first. */
        share: number;
        /** The most that one such create may cost. */
        max_cost_usd?: number | undefined;
      }
    | undefined;
};

export type PortLink = {
  url: string;
  expires_at: string | null;
  port: number;
};

export type PortLinkRequest = {
  /** Seconds until the link stops working. */
  expires_in?: number | undefined;
};

export type PortList = {
  ports: {
    port: number;
    address: string;
    pid: number;
    command: string;
  }[];
};

export type ProfileView = {
  provider: string;
  label: string;
  /** `modelled` is compared only: this gateway has no adapter contract for it. `rehearsal` plays a recording: nothing runs. */
  kind: "live" | "modelled" | "rehearsal";
  runtimes: string[];
  package_install: boolean | null;
  public_preview: boolean | null;
  persistence: "low" | "medium" | "high" | null;
  desktop: boolean | null;
  browser: boolean | null;
  regions: string[] | null;
  /** Workloads that the vendor's own documents say it is made for. */
  purposes: string[];
  cost: {
    source: string;
    date: string;
    checked: boolean;
    usd_per_vcpu_hour: number;
    usd_per_gb_hour: number;
    usd_per_create: number;
    default_vcpus: number;
    default_gb: number;
    formula: string;
  } | null;
  limits: {
    max_lifetime_minutes: number | null;
    free_max_lifetime_minutes: number | null;
    concurrency: number | null;
    free_concurrency: number | null;
    ports: number | null;
    source: string | null;
  };
  startup: {
    published: {
      source: string;
      date: string;
      checked: boolean;
      ms: number;
    } | null;
    measured: {
      source: string;
      date: string;
      checked: boolean;
      p50_ms: number;
      p95_ms: number;
      p99_ms: number;
      method: string;
    } | null;
  };
  uptime_percent: number | null;
  /** The names of the credentials that enabling it takes. */
  credentials: string[];
  /** Commands to paste. */
  how_to_enable: string[];
};

export type ProviderDisabled = {
  success: true;
  provider: string;
};

export type ProviderList = {
  providers: ProviderStatus[];
};

export type ProviderResult = {
  provider: string;
  label: string;
  /** Can run sessions of this account now. */
  executable: boolean;
  /** Why there is nothing of it, in words. */
  skipped?: string | undefined;
  samples: number;
  success_rate: number | null;
  tti: {
    sequential: Distribution;
    staggered: Distribution;
    burst: Distribution;
  };
  first_byte: Distribution;
  exec: Distribution;
  cost_usd: number;
  /** 0 to 100, see docs/stress-tests.md. */
  score: number | null;
  rank: number | null;
  reasons: string[];
};

export type ProviderStatus = {
  provider: string;
  label: string;
  executable: boolean;
  /** Why it can be used now, or what is missing. */
  reason: string;
  computes: {
    compute_id: string;
    label: string;
    status: string;
  }[];
  /** What this account's own sessions and tests measured; `source` says where a figure is from. */
  own_measurements?:
    | {
        startup: {
          p50_ms: number;
          p95_ms: number;
          n: number;
          source: string;
        } | null;
        exec: {
          p50_ms: number;
          p95_ms: number;
          n: number;
          source: string;
        } | null;
        success: {
          share: number;
          n: number;
          source: string;
        };
      }
    | undefined;
  profile?: ProfileView | undefined;
};

export type RegisterComputeRequest = {
  label: string;
  kind?: string | undefined;
  provider?: string | undefined;
  /** The id this host was given before. The gateway keeps it when it belongs to this account. */
  compute_id?: string | undefined;
  capabilities?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  connection?:
    | {
        transport?: string | undefined;
      }
    | undefined;
};

export type RegisteredComputeRecord = {
  compute_id: string;
  label: string;
  provider: string;
  kind: string;
  scope: string;
  status: string;
  last_heartbeat_at?: string | null | undefined;
  capabilities?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  owner_id?: string | undefined;
  /** A credential for this compute alone, shown this once. */
  relay_token?: string | undefined;
};

export type ReplayReport = {
  mode: RoutingMode;
  decisions: number;
  replayed: number;
  fixed: number;
  changed: number;
  startup_ms: {
    was: number;
    would_be: number;
    compared: number;
    happened: number | null;
  } | null;
  cost_usd: {
    was: number;
    would_be: number;
    compared: number;
  } | null;
  /** The newest ones, 100 at most. */
  changes: {
    session_id?: string | undefined;
    at: string;
    was: string;
    would_be: string;
    reason: string;
  }[];
};

export type Repo = {
  name?: string | undefined;
  framework?: string | undefined;
  languages?: string[] | undefined;
  signals?: string[] | undefined;
};

export type Requirements = {
  runtime?: string | undefined;
  package_install?: boolean | undefined;
  public_preview?: boolean | undefined;
  persistence_level?: "none" | "low" | "medium" | "high" | undefined;
  timeout_minutes?: number | undefined;
  browser?: boolean | undefined;
  desktop?: boolean | undefined;
  region?: string | undefined;
  /** Labels that the compute must carry, each with this value. */
  labels?: Record<string, string> | undefined;
};

export type ResumeRequest = {
  compute?:
    | {
        compute_id?: string | undefined;
        provider?: string | undefined;
      }
    | null
    | undefined;
  /** `auto` takes the working folder along when both computes can. */
  carry?: "auto" | "never" | undefined;
  /** Files that look like secrets stay behind, instead of stopping the move. */
  leave_secrets?: boolean | undefined;
  /** Leaves behind what git ignores. */
  skip_ignored?: boolean | undefined;
};

export type Routing = {
  recommended_provider: string | null;
  confidence: "high" | "medium" | "low" | "none";
  primary_reason: string;
  secondary_reasons: string[];
  fallback_order: string[];
  canary_run: boolean;
};

export type RoutingDecision = {
  version: 1;
  /** RFC 3339. */
  at: string;
  mode: RoutingMode;
  workload: string;
  named: boolean;
  chosen: string | null;
  /** What a create tries, in turn. */
  order: string[];
  weights: Record<"startup" | "exec" | "reliability" | "cost" | "fit" | "load" | "locality", number>;
  canary: {
    share: number;
    taken: boolean;
    reason: string;
  } | null;
  routing: Routing;
  candidates: DecisionCandidate[];
  /** Candidates that were looked at, but are not kept here. */
  left_out: number;
};

export type RoutingExplained = {
  version: 1;
  /** RFC 3339. */
  at: string;
  mode: RoutingMode;
  workload: string;
  named: boolean;
  chosen: string | null;
  /** What a create tries, in turn. */
  order: string[];
  weights: Record<"startup" | "exec" | "reliability" | "cost" | "fit" | "load" | "locality", number>;
  canary: {
    share: number;
    taken: boolean;
    reason: string;
  } | null;
  routing: Routing;
  candidates: DecisionCandidate[];
  /** Candidates that were looked at, but are not kept here. */
  left_out: number;
  why?: string | undefined;
};

export type RoutingMode = "balanced" | "fastest" | "cheapest" | "resilient" | "pinned";

export type RunAnswer = {
  run_id: string;
  status: RunStatus;
  duration_ms: number;
  /** All bytes printed, kept or not. */
  stdout_bytes: number;
  stderr_bytes: number;
  /** Some of the output is not in `result`; the text says how much. */
  truncated: boolean;
  /** Where all of it can be read, when it was truncated. */
  output?: string | undefined;
  session_id: string;
  result: RunOutput;
};

export type RunEvent =
  | {
      type: "start";
      run_id: string;
      runtime: Runtime;
      pid?: number | undefined;
      cwd?: string | undefined;
    }
  | {
      type: "stdout";
      /** Bytes of this stream before this event. */
      offset: number;
      data: string;
      /** Present when `data` is base64, for bytes that are not UTF-8. */
      encoding?: "base64" | undefined;
    }
  | {
      type: "stderr";
      /** Bytes of this stream before this event. */
      offset: number;
      data: string;
      /** Present when `data` is base64, for bytes that are not UTF-8. */
      encoding?: "base64" | undefined;
    }
  | {
      type: "gap";
      stream: "stdout" | "stderr";
      /** The first byte that is missing. */
      offset: number;
      /** How many are missing: the journal of a run is bounded. */
      bytes: number;
    }
  | {
      type: "exit";
      run_id: string;
      status: RunStatus;
      duration_ms: number;
      /** All bytes printed, kept or not. */
      stdout_bytes: number;
      stderr_bytes: number;
      exit_code: number | null;
      signal?: string | null | undefined;
      /** Why it ended, as in the run's record. */
      end_reason?: string | undefined;
    }
  | {
      type: "error";
      run_id: string;
      status?: RunStatus | undefined;
      error: string;
      code: string;
      hint?: string | undefined;
    };

export type RunList = {
  runs: RunRecord[];
  next_cursor?: string | undefined;
};

export type RunOutput = {
  stdout: string;
  stderr: string;
  stdout_encoding?: "base64" | undefined;
  stderr_encoding?: "base64" | undefined;
  /** 128 + n after signal n; 124 after a timeout. */
  exit_code: number | null;
  /** The signal that ended the process, such as SIGKILL. */
  signal?: string | null | undefined;
};

export type RunRecord = {
  run_id: string;
  session_id: string;
  status: RunStatus;
  runtime: Runtime;
  background: boolean;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  /** With `lost`: when the machine went out of reach. */
  since?: string | undefined;
  exit_code: number | null;
  signal: string | null;
  duration_ms: number | null;
  /** Seconds. */
  timeout: number;
  stdout_bytes: number;
  stderr_bytes: number;
  /** `exit`, `signal`, `timeout`, `cancelled`, `session_closed`, `abandoned` (nobody came back for it in time), `never_started`, `keeper_lost` (what held it on its machine died, so nobody knows); null while it runs. */
  end_reason: string | null;
  receipt?: KillReceipt | undefined;
};

export type RunRequest = {
  /** Shell text, or an ES module's text with `runtime: node`. */
  code: string;
  /** Seconds until the whole process tree is ended: 30 unless said, 3600 in the background. */
  timeout?: number | undefined;
  /** Environment variables for this run alone. */
  envs?: Record<string, string> | undefined;
  /** Working folder, relative to the session's own. It may not leave it. */
  cwd?: string | undefined;
  /** `node` runs the text as an ES module with top-level await. */
  runtime?: Runtime | undefined;
  /** Input; without it stdin is /dev/null. */
  stdin?: string | undefined;
  /** Keeps stdin open for `POST .../runs/:run_id/stdin`, until `.../stdin/close`. */
  stdin_open?: boolean | undefined;
  /** The run is its own: it goes on when the caller hangs up, and when the relay is gone. */
  background?: boolean | undefined;
};

export type RunStatus = "queued" | "running" | "succeeded" | "failed" | "cancelled" | "timed_out" | "lost";

export type Runtime = "shell" | "node";

export type Sandbox = {
  sandbox_id: string;
  provider: string;
  compute_id: string;
  status: string;
  created_at: string;
};

export type SandboxDeleted = {
  success: true;
  sandbox_id: string;
  provider: string;
  status: "terminated";
  /** The same, as a relay calls it. */
  remote_sandbox_id?: string | undefined;
};

export type SandboxRunAnswer = {
  run_id: string;
  /** The exit code was 0. */
  success: boolean;
  status: RunStatus;
  stdout: string;
  stderr: string;
  stdout_encoding?: "base64" | undefined;
  stderr_encoding?: "base64" | undefined;
  /** 128 + n after signal n; 124 after a timeout. */
  exit_code: number | null;
  /** The signal that ended the process, such as SIGKILL. */
  signal?: string | null | undefined;
  duration_ms: number;
  stdout_bytes: number;
  stderr_bytes: number;
  truncated: boolean;
  end_reason?: string | undefined;
  receipt?: KillReceipt | undefined;
  cwd?: string | undefined;
};

export type SandboxRunRequest = {
  /** Shell text, or an ES module's text with `runtime: node`. */
  code: string;
  /** Seconds until the whole process tree is ended: 30 unless said, 3600 in the background. */
  timeout?: number | undefined;
  /** Environment variables for this run alone. */
  envs?: Record<string, string> | undefined;
  /** Working folder, relative to the session's own. It may not leave it. */
  cwd?: string | undefined;
  /** `node` runs the text as an ES module with top-level await. */
  runtime?: Runtime | undefined;
  /** Input; without it stdin is /dev/null. */
  stdin?: string | undefined;
  /** Keeps stdin open for `POST .../runs/:run_id/stdin`, until `.../stdin/close`. */
  stdin_open?: boolean | undefined;
  /** The run is its own: it goes on when the caller hangs up, and when the relay is gone. */
  background?: boolean | undefined;
  run_id?: string | undefined;
};

export type SandboxState = {
  provider: string;
  sandbox_id: string;
  state: Record<string, unknown>;
};

export type Scope = "admin" | "run" | "read" | "relay";

export type SessionClosed = {
  success: true;
  session_id: string;
  status: "ended" | "purged";
};

export type SessionCost = {
  session_id: string;
  cost_usd: number;
  max_cost_usd: number | null;
  uses: ComputeUse[];
};

export type SessionList = {
  sessions: SessionSummary[];
  next_cursor?: string | undefined;
};

export type SessionMetrics = {
  provision_time_ms: number | null;
  time_to_first_exec_ms: number | null;
  last_exec_latency_ms: number | null;
  average_exec_latency_ms: number | null;
  average_stream_open_latency_ms: number | null;
  total_exec_count: number;
  total_stream_count: number;
  interaction_count: number;
  session_length_ms: number;
  cost_estimate_usd: number;
  /** Share of the compute's registered life it was online. */
  uptime_percent: number | null;
  predicted_startup_ms: number | null;
  engagement_score: number;
  engagement_label: "idle" | "warming" | "engaged" | "deep";
};

export type SessionMoved = {
  session_id: string;
  status: string;
  provider: string;
  compute_id: string | null;
  sandbox_id: string | null;
  paused: boolean;
  carried?:
    | {
        tree_hash: string;
        files: number;
        bytes_total: number;
        bytes_sent: number;
        /** What was not taken along, and why; the first of them. */
        left_behind: string[];
        left_behind_count: number;
      }
    | null
    | undefined;
  routing?: Routing | undefined;
  attempts?: Attempt[] | undefined;
  warnings?: string[] | undefined;
};

export type SessionNews =
  | {
      type: "session";
      session_id: string;
      change: "created" | "changed" | "moved" | "paused" | "resumed" | "ended";
    }
  | {
      type: "run";
      session_id: string;
      run_id: string;
      status: RunStatus;
    }
  | {
      type: "transcript";
      session_id: string;
      transcript_total: number;
      entries: TranscriptEntry[];
    }
  | {
      type: "stream_event";
      session_id: string;
      /** What an agent on a public relay told, as it is (contract section 4.2). */
      event: unknown;
    }
  | {
      type: "missed";
      session_id?: string | undefined;
      /** So much was left out, as the reader was too slow. Read the record. */
      count: number;
    };

export type SessionPatched = {
  session_id: string;
  metadata: Record<string, unknown>;
  labels: Record<string, string>;
};

export type SessionRecord = {
  sessionId: string;
  sessionName: string;
  status: string;
  provider?: string | undefined;
  computeId: string | null;
  createdAt: string;
  updatedAt: string;
  workload?: string | null | undefined;
  task?: string | null | undefined;
  harness?: string | null | undefined;
  metadata?: Record<string, unknown> | undefined;
  labels?: Record<string, string> | undefined;
  messageCount?: number | undefined;
  sandboxId?: string | null | undefined;
  endReason?: string | null | undefined;
  parentSessionId?: string | null | undefined;
  /** Since when its compute is released. */
  pausedAt?: string | null | undefined;
  /** When it ends by itself. */
  deadlineAt?: string | null | undefined;
  metrics?: SessionMetrics | undefined;
  routing?: Routing | undefined;
  transcript: TranscriptEntry[];
  transcriptTotal?: number | undefined;
};

export type SessionRouting = {
  session_id: string;
  routing: Routing;
  attempts: Attempt[];
  /** Null of sessions that were created before decisions were kept. */
  decision: RoutingDecision | null;
};

export type SessionSummary = {
  sessionId: string;
  sessionName: string;
  status: string;
  provider?: string | undefined;
  computeId: string | null;
  createdAt: string;
  updatedAt: string;
  workload?: string | null | undefined;
  task?: string | null | undefined;
  harness?: string | null | undefined;
  metadata?: Record<string, unknown> | undefined;
  labels?: Record<string, string> | undefined;
  messageCount: number;
};

export type SigninLink = {
  url: string;
  expires_in: number;
};

export type StartDeviceLoginRequest = {
  machine_name?: string | undefined;
  /** What the token shall be allowed; run when absent. */
  scopes?: Scope[] | undefined;
};

export type StateKept = {
  success: true;
  sandbox_id: string;
};

export type StatusRequest = {
  status: string;
  end_reason?: string | undefined;
};

export type StatusSet = {
  success: true;
  session_id: string;
};

export type StdinAnswer = {
  run_id: string;
  stdin_bytes: number;
};

export type StdinRequest = {
  data: string;
  encoding?: "base64" | undefined;
};

export type StressEvent =
  | {
      type: "progress";
      stress_test_id: string;
      done: number;
      total: number;
      cost_usd: number;
      sample?: StressSample | undefined;
    }
  | {
      type: "report";
      report: StressReport;
    };

export type StressPattern = "sequential" | "staggered" | "burst";

export type StressReport = {
  stress_test_id: string;
  mode: "simulated" | "live";
  status: "running" | "done" | "cancelled" | "failed";
  kind: string | null;
  task: string | null;
  workload: string;
  created_at: string;
  ended_at: string | null;
  seed: number | null;
  /** Where the figures come from, in words. */
  made_of: string[];
  recommended_provider: string | null;
  confidence: "high" | "medium" | "low" | "none";
  primary_reason: string;
  ranking: string[];
  providers: ProviderResult[];
  cost_usd: number;
  /** Sandboxes of this test; `left` names those that could not be shown to be gone. */
  clean_up: {
    made: number;
    deleted: number;
    left: string[];
  };
  /** The raw samples. */
  samples: StressSample[];
};

export type StressSample = {
  provider: string;
  pattern: StressPattern;
  index: number;
  ok: boolean;
  create_ms?: number | undefined;
  /** Time to interactive: from the create until the first command is done. */
  tti_ms?: number | undefined;
  /** From asking for the first command until its first byte of output. */
  first_byte_ms?: number | undefined;
  /** Commands in a sandbox that is there already. */
  exec_ms?: number[] | undefined;
  cost_usd?: number | undefined;
  code?: string | undefined;
  error?: string | undefined;
};

export type StressTestList = {
  stress_tests: {
    stress_test_id: string;
    mode: "simulated" | "live";
    status: "running" | "done" | "cancelled" | "failed";
    kind: string | null;
    created_at: string;
    ended_at: string | null;
    recommended_provider: string | null;
    cost_usd: number;
  }[];
};

export type StressTestRequest = {
  task?: string | undefined;
  /** A name for what is compared, such as preview_launch. */
  kind?: string | undefined;
  workload?: string | undefined;
  requirements?: Requirements | undefined;
  policy?: Policy | undefined;
  /** All that are known, unless said. */
  providers?: string[] | undefined;
  /** Samples of each provider and pattern. */
  sample_size?: number | undefined;
  /** `live` makes real sandboxes with this account's credentials, and costs what they cost. */
  mode?: "simulated" | "live" | undefined;
  patterns?: StressPattern[] | undefined;
  /** Sandboxes that exist at once, live. */
  concurrency?: number | undefined;
  /** A live test begins no sample that could bring its cost above this. */
  max_cost_usd?: number | undefined;
  /** Makes a simulated report the same again. */
  seed?: number | undefined;
};

export type TranscriptEntry = {
  seq?: number | undefined;
  role: string;
  kind: string;
  content: string;
  at?: string | undefined;
  tool_id?: string | undefined;
  tool_name?: string | undefined;
  tool_input?: unknown;
  is_error?: boolean | undefined;
  run_id?: string | undefined;
  source?: string | undefined;
};

export type TranscriptPage = {
  session_id: string;
  transcript: TranscriptEntry[];
  transcript_total: number;
};

export type WhoAmI = {
  account_id?: string | undefined;
  /** `project` or `global`, as the public clients read it. */
  scope?: string | undefined;
  project_slug?: string | null | undefined;
  scopes?: string[] | undefined;
  compute_id?: string | null | undefined;
};

export type WhyAwake = {
  session_id: string;
  state: "active" | "waiting" | "paused" | "ended" | "no_compute";
  /** In words. */
  reason: string;
  running: {
    run_id: string;
    since: string;
  }[];
  last_activity: {
    kind: string;
    caller: string;
    at: string;
  } | null;
  /** When it is paused if nothing happens until then. */
  sleeps_at: string | null;
  /** Its deadline, from requirements.timeout_minutes. */
  ends_at: string | null;
  cost_usd: number;
  /** All that has moved the idle clock, latest first. */
  activity: {
    kind: string;
    caller: string;
    count: number;
    first_at: string;
    last_at: string;
  }[];
};

export type WriteFileRequest = {
  path: string;
  content: string;
  encoding?: "utf8" | "base64" | undefined;
};
