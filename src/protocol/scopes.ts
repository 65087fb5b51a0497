/**
 * What a token may do. `admin`: everything. `run`: sessions, runs, reading. `read`: reading only. `relay`: register one
 * compute and serve it, nothing else.
 */
export const SCOPES = ["admin", "run", "read", "relay"] as const;
export type Scope = (typeof SCOPES)[number];
