import type { Generated, Kysely } from "kysely";

/**
 * The tables, as Kysely types.
 *
 * Times are milliseconds since 1970, yes and no are 1 and 0, and columns ending in `_json` hold JSON text: the same
 * in SQLite and in PostgreSQL, so that one set of queries serves both.
 */
export interface Tables {
  accounts: AccountRow;
  api_tokens: ApiTokenRow;
  device_logins: DeviceLoginRow;
  signin_links: SigninLinkRow;
  browser_signins: BrowserSigninRow;
  computes: ComputeRow;
  sessions: SessionRow;
  transcript_entries: TranscriptEntryRow;
  entry_words: EntryWordsRow;
  runs: RunRow;
  idempotency_keys: IdempotencyKeyRow;
  provider_credentials: ProviderCredentialsRow;
  session_tags: SessionTagRow;
  session_activity: SessionActivityRow;
  compute_uses: ComputeUseRow;
  account_limits: AccountLimitsRow;
  sandboxes: SandboxRow;
  orphans: OrphanRow;
  routing_memory: RoutingMemoryRow;
  stress_tests: StressTestRow;
  secret_uses: SecretUseRow;
  oauth_grants: OAuthGrantRow;
}

/** What every query is asked of. */
export type Database = Kysely<Tables>;

/** One use of a secret. */
export interface SecretUseRow {
  id: string;
  account_id: string;
  name: string;
  backend: string;
  /** `run` or `secret_fetch`. */
  used_by: string;
  token_id: string | null;
  session_id: string | null;
  run_id: string | null;
  at: number;
}

export interface AccountRow {
  id: string;
  name: string;
  created_at: number;
}

export interface ApiTokenRow {
  id: string;
  account_id: string;
  /** SHA-256 of the whole token, hex. */
  hash: string;
  /** The first characters, enough to know it by: `ck_Ab3d`. */
  prefix: string;
  label: string;
  /** Scope words separated by spaces. */
  scopes: string;
  /** The one compute that a `relay` token serves, once it has registered it. */
  compute_id: string | null;
  created_at: number;
  last_used_at: number | null;
  expires_at: number | null;
  revoked_at: number | null;
}

export interface DeviceLoginRow {
  id: string;
  device_code_hash: string;
  user_code_hash: string;
  machine_name: string;
  scopes: string;
  ip: string;
  /** pending, approved, denied, redeemed */
  status: string;
  account_id: string | null;
  poll_interval: number;
  last_polled_at: number | null;
  created_at: number;
  expires_at: number;
}

export interface SigninLinkRow {
  hash: string;
  account_id: string;
  created_at: number;
  expires_at: number;
  used_at: number | null;
}

export interface BrowserSigninRow {
  hash: string;
  account_id: string;
  created_at: number;
  expires_at: number;
}

export interface ComputeRow {
  id: string;
  account_id: string;
  label: string;
  kind: string;
  provider: string;
  scope: string;
  capabilities_json: string;
  metadata_json: string;
  registered_at: number;
  last_heartbeat_at: number | null;
}

export interface SessionRow {
  id: string;
  account_id: string;
  name: string;
  status: string;
  end_reason: string | null;
  session_type: string | null;
  task: string | null;
  workload: string | null;
  harness: string | null;
  /** `metadata.source`, apart so that lists can filter on it. */
  source: string | null;
  metadata_json: string;
  request_json: string;
  routing_json: string;
  provider: string;
  compute_id: string | null;
  sandbox_id: string | null;
  provision_time_ms: number | null;
  predicted_startup_ms: number | null;
  first_exec_at: number | null;
  last_exec_latency_ms: number | null;
  exec_latency_total_ms: Generated<number>;
  stream_open_total_ms: Generated<number>;
  exec_count: Generated<number>;
  stream_count: Generated<number>;
  interaction_count: Generated<number>;
  /** How many transcript entries there are, which is also the next entry's `seq`. */
  entry_count: Generated<number>;
  created_at: number;
  updated_at: number;
  ended_at: number | null;
  /** `{name: value}`, as the caller gave them. */
  labels_json: string | null;
  parent_id: string | null;
  /** When the session ends by itself. */
  deadline_at: number | null;
  /** After so long without activity its compute is released. */
  idle_timeout_ms: number | null;
  last_active_at: number | null;
  /** Since when it rests: its compute is released, its record stays. */
  paused_at: number | null;
  /** Whoever has cost so much is ended. */
  max_cost_usd: number | null;
  /** What the stretches of compute that are over have cost. */
  cost_usd: Generated<number>;
  /** Since when it has the compute that it has. */
  cost_since: number | null;
  decision_json: string | null;
  attempts_json: string | null;
}

export interface TranscriptEntryRow {
  session_id: string;
  seq: number;
  role: string;
  kind: string;
  content: string;
  at: number;
  tool_id: string | null;
  tool_name: string | null;
  tool_input_json: string | null;
  is_error: number | null;
  run_id: string | null;
  idempotency_key: string | null;
  /** How many credentials were taken out of it. */
  redacted: number | null;
  /** Whose words they are: an `EntrySource`. */
  source: string;
  /** Its row in `entry_words`; sorts by time. */
  search_id: number | null;
}

/** The index of words: FTS5 in SQLite, whose key is `rowid`; a tsvector in PostgreSQL, where it is `id`. */
export interface EntryWordsRow {
  words: string;
}

export interface RunRow {
  id: string;
  session_id: string;
  account_id: string;
  compute_id: string | null;
  runtime: string;
  status: string;
  streamed: number;
  background: Generated<number>;
  /** The request without values of variables and without input; null of runs of earlier versions. */
  request_json: string | null;
  timeout_ms: number | null;
  exit_code: number | null;
  signal: string | null;
  stdout_bytes: number | null;
  stderr_bytes: number | null;
  duration_ms: number | null;
  end_reason: string | null;
  receipt_json: string | null;
  started_at: number;
  /** When the machine said that it has the run. */
  confirmed_at: number | null;
  /** Set when nothing about the run can change any more. */
  ended_at: number | null;
  /** Since when the machine is out of reach. */
  lost_since: number | null;
  /** Why the run is to be cancelled once its machine is back. */
  cancel_wanted: string | null;
  /** Whether its call is on the transcript. */
  on_transcript: Generated<number>;
}

export interface IdempotencyKeyRow {
  account_id: string;
  key: string;
  request_hash: string;
  run_id: string | null;
  answer_json: string | null;
  created_at: number;
}

export interface ProviderCredentialsRow {
  account_id: string;
  provider: string;
  /** The credentials as JSON, sealed with the master key. */
  sealed: string;
  /** The names of what is sealed. */
  names_json: string;
  /** When the vendor last said that they work. */
  verified_at: number;
  created_at: number;
}

export interface SessionTagRow {
  session_id: string;
  account_id: string;
  /** `label:NAME` or `metadata:KEY`. */
  name: string;
  value: string;
}

export interface SessionActivityRow {
  session_id: string;
  kind: string;
  /** Who: a token's id, `page`, or `local`. */
  caller: string;
  first_at: number;
  last_at: number;
  count: number;
}

export interface ComputeUseRow {
  id: string;
  account_id: string;
  session_id: string;
  provider: string;
  compute_id: string;
  sandbox_id: string | null;
  started_at: number;
  ended_at: number | null;
  /** What it may cost at most, until it is over. */
  reserved_usd: number;
  cost_usd: number | null;
}

export interface AccountLimitsRow {
  account_id: string;
  spend_per_month_usd: number | null;
  max_sessions: number | null;
  updated_at: number;
}

export interface SandboxRow {
  account_id: string;
  sandbox_id: string;
  provider: string;
  compute_id: string;
  created_at: number;
}

export interface OrphanRow {
  id: string;
  account_id: string;
  session_id: string;
  provider: string;
  compute_id: string;
  /** Null when only the session it was made for is known. */
  sandbox_id: string | null;
  found_at: number;
  why: string;
}

export interface RoutingMemoryRow {
  account_id: string;
  kind: string;
  key: string;
  value_json: string;
  updated_at: number;
}

export interface StressTestRow {
  id: string;
  account_id: string;
  status: string;
  request_json: string;
  report_json: string | null;
  created_at: number;
  ended_at: number | null;
}

export interface OAuthGrantRow {
  id: string;
  account_id: string;
  client_id: string;
  client_name: string;
  /** What the person allowed, separated by spaces. */
  scopes: string;
  redirect_uri: string;
  /** SHA-256 of the authorization code, hex. */
  code_hash: string;
  /** BASE64URL(SHA-256(verifier)) (RFC 7636). */
  code_challenge: string;
  /** The API token that the client was given; null until the code is used. */
  token_id: string | null;
  /** SHA-256 of what all refresh tokens of this grant begin with; null until the code is used. */
  family_hash: string | null;
  /** SHA-256 of the one refresh token that is good now. */
  refresh_hash: string | null;
  created_at: number;
  /** Of the code until it is used, then of the refresh token. */
  expires_at: number;
}
