import type { ReactNode } from "react";

export type Tone = "good" | "warn" | "bad" | "soft" | "accent";

const TONE: Record<Tone, string> = {
  good: "bg-good-tint text-good",
  warn: "bg-warn-tint text-warn",
  bad: "bg-bad-tint text-bad",
  accent: "bg-accent-tint text-accent",
  soft: "bg-raised text-soft",
};

/** A word with a colour. The word says it all; the colour is for the eye that skims. */
export function Badge({ tone = "soft", children }: { tone?: Tone; children: ReactNode }) {
  return (
    <span
      className={`inline-flex items-center whitespace-nowrap rounded px-1.5 text-xs leading-5 ${TONE[tone]}`}
    >
      {children}
    </span>
  );
}

/** What a status word of sessions, runs, computes and tests means at a glance. */
const STATUS_TONE: Record<string, Tone> = {
  ready: "good",
  running: "accent",
  exited: "soft",
  live: "good",
  approved: "good",
  pending: "warn",
  paused: "warn",
  lost: "warn",
  cancelled: "warn",
  timed_out: "bad",
  failed: "bad",
  denied: "bad",
  offline: "bad",
  ended: "soft",
};

export function StatusBadge({ status }: { status: string }) {
  return <Badge tone={STATUS_TONE[status] ?? "soft"}>{status.replaceAll("_", " ")}</Badge>;
}
