import type { ErrorCode } from "../../../protocol/errors.js";

/**
 * What became of an attempt to use a candidate.
 *
 * `failed` speaks against the candidate. `throttled` is the vendor's word that this account has to wait, so it waits, and
 * nothing is held against it. Everything else a caller can meet says nothing of the candidate, and is not an outcome.
 */
export type Outcome = { kind: "ok" } | { kind: "failed" } | { kind: "throttled"; retryAfterMs?: number };

/** A candidate whose creates keep failing is left out for a while, then tried with one create. Plain JSON. */
export interface Breaker {
  v: 1;
  state: "closed" | "open" | "half_open";
  /** Decayed counts of creates, and when they held. */
  ok: number;
  failed: number;
  at: number;
  /** The newest outcomes as letters, `o` or `x`, for the words that are shown. */
  recent: string;
  /** Until when nothing is sent; a time that is over once it is not held, 0 when it never was. */
  until: number;
  /** Why it is held, for the words. */
  because: "failures" | "throttled" | null;
  /** How often it opened without closing for long in between: each time it stays open twice as long. */
  opens: number;
  /** When the one probe of a half-open breaker began. */
  probedAt: number | null;
}

const HALF_LIFE_MS = 30 * 60_000;
const HALF_LIFE_SAMPLES = 8;
/** It opens when at least this much failure has gathered lately, and it is at least this share of what was tried. */
const FAILURES_TO_OPEN = 2.4;
const SHARE_TO_OPEN = 0.5;
const RECENT = 10;
export const FIRST_OPEN_MS = 30_000;
export const LONGEST_OPEN_MS = 30 * 60_000;
/** A throttle without a time. */
const THROTTLE_MS = 5_000;
const LONGEST_THROTTLE_MS = 5 * 60_000;
/** A probe whose end nobody told counts as gone after this. */
export const PROBE_TIMEOUT_MS = 2 * 60_000;
/** After this long without an opening the next one is a first one again. */
const FORGIVEN_MS = 60 * 60_000;

export function newBreaker(now: number): Breaker {
  return {
    v: 1,
    state: "closed",
    ok: 0,
    failed: 0,
    at: now,
    recent: "",
    until: 0,
    because: null,
    opens: 0,
    probedAt: null,
  };
}

/** A breaker read from where it was kept; a new one when it is of another version. */
export function breakerFromJson(json: string, now: number): Breaker {
  const read = JSON.parse(json) as Breaker;
  return read.v === 1 ? read : newBreaker(now);
}

/**
 * What an error of a create means for its candidate; undefined when it means nothing.
 *
 * A caller's mistake, a refused credential and a caller that hung up would have happened on a healthy provider too. A bill
 * that is not paid (`provider_failed` with the vendor's 402) fails for as long as an outage would, so it counts as one.
 */
export function outcomeOf(code: ErrorCode, retryAfterMs?: number): Outcome | undefined {
  switch (code) {
    case "provider_failed":
    case "compute_lost":
    case "compute_offline":
    case "timed_out":
    case "internal":
      return { kind: "failed" };
    case "too_many_requests":
    case "relay_full":
      return { kind: "throttled", ...(retryAfterMs !== undefined && { retryAfterMs }) };
    default:
      return undefined;
  }
}

/** Whether a create may be sent now: `probe` when it is the one that tries whether things are well again. */
export function admission(breaker: Breaker, now: number): "yes" | "probe" | "no" {
  if (now < breaker.until) return "no";
  if (breaker.state === "closed") return "yes";
  const probing = breaker.probedAt !== null && now - breaker.probedAt < PROBE_TIMEOUT_MS;
  return probing ? "no" : "probe";
}

/** The breaker once a create was sent. Call it before the create, so that one probe is under way at most. */
export function admitted(breaker: Breaker, now: number): Breaker {
  return admission(breaker, now) === "probe" ? { ...breaker, state: "half_open", probedAt: now } : breaker;
}

/** The breaker once the outcome of a create is known. */
export function withOutcome(breaker: Breaker, outcome: Outcome, now: number): Breaker {
  if (outcome.kind === "throttled") return throttled(breaker, outcome.retryAfterMs, now);
  const counted = count(breaker, outcome.kind === "ok", now);
  if (outcome.kind === "ok") {
    // One that was sent before it opened says nothing about now.
    if (breaker.state === "open") return counted;
    if (breaker.state === "closed") return counted;
    return { ...counted, state: "closed", ok: 1, failed: 0, because: null, probedAt: null };
  }
  if (breaker.state === "half_open") return opened(counted, now);
  if (breaker.state === "open") return counted;
  const share = counted.failed / (counted.failed + counted.ok);
  return counted.failed >= FAILURES_TO_OPEN && share >= SHARE_TO_OPEN ? opened(counted, now) : counted;
}

/** Why a candidate is held, as the end of a sentence; undefined when it is not: "left out until 12:03 UTC after 5 of 6 creates failed". */
export function heldWords(breaker: Breaker, now: number): string | undefined {
  if (admission(breaker, now) !== "no") return undefined;
  if (now >= breaker.until) return "tried by another create right now, after it was left out";
  const until = `left out until ${clock(breaker.until)}`;
  if (breaker.because === "throttled") return `${until}, as it asked this account to wait`;
  const failed = [...breaker.recent].filter((letter) => letter === "x").length;
  return `${until} after ${failed} of ${breaker.recent.length} creates failed`;
}

function opened(breaker: Breaker, now: number): Breaker {
  const forgiven = breaker.until > 0 && now - breaker.until > FORGIVEN_MS;
  const opens = forgiven ? 1 : breaker.opens + 1;
  return {
    ...breaker,
    state: "open",
    until: now + Math.min(LONGEST_OPEN_MS, FIRST_OPEN_MS * 2 ** (opens - 1)),
    because: "failures",
    opens,
    probedAt: null,
  };
}

/** It waits as long as it was told, and its state stays: a throttled probe is tried again. */
function throttled(breaker: Breaker, retryAfterMs: number | undefined, now: number): Breaker {
  const wait = Math.min(LONGEST_THROTTLE_MS, Math.max(0, retryAfterMs ?? THROTTLE_MS));
  if (now + wait <= breaker.until) return { ...breaker, probedAt: null };
  return { ...breaker, until: now + wait, because: "throttled", probedAt: null };
}

function count(breaker: Breaker, ok: boolean, now: number): Breaker {
  const fade = 2 ** (-Math.max(0, now - breaker.at) / HALF_LIFE_MS - 1 / HALF_LIFE_SAMPLES);
  // What the words count is what lately happened: a pause that made the rest fade begins them anew.
  const recent = now - breaker.at >= 2 * HALF_LIFE_MS ? "" : breaker.recent;
  return {
    ...breaker,
    ok: breaker.ok * fade + (ok ? 1 : 0),
    failed: breaker.failed * fade + (ok ? 0 : 1),
    at: Math.max(breaker.at, now),
    recent: `${recent}${ok ? "o" : "x"}`.slice(-RECENT),
  };
}

function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 16)} UTC`;
}
