const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Reads a time such as `30`, `300ms`, `30s`, `5m`, `1h` or `7d`, in milliseconds; undefined when it is none. */
export function durationMs(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  return match ? Number(match[1]) * UNIT_MS[(match[2] ?? "s") as keyof typeof UNIT_MS] : undefined;
}

/** What `CERVER_RUN_GRACE` says, as a part of a configuration. A text that is no time is left for the schema to refuse. */
export function graceFromEnv({ CERVER_RUN_GRACE: text }: Readonly<Record<string, string | undefined>>) {
  return text ? { runGraceMs: durationMs(text) ?? Number.NaN } : {};
}
