import { useSyncExternalStore } from "react";

/** How often what is said of times is looked at again; no request is made for it. */
const TICK_MS = 10_000;
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** "3 min ago", with the exact time to hover over. Takes RFC 3339. */
export function Time({ at }: { at: string }) {
  const seen = useSyncExternalStore(subscribe, () => now);
  const date = new Date(at);
  return (
    <time
      dateTime={at}
      title={date.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" })}
      className="whitespace-nowrap"
    >
      {relative(date.getTime(), Math.max(seen, Date.now() - TICK_MS))}
    </time>
  );
}

const UNITS: readonly [size: number, name: string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

/** Both milliseconds since 1970. */
export function relative(at: number, seen: number): string {
  const seconds = Math.round((at - seen) / 1000);
  const size = Math.abs(seconds);
  if (size < 45) return seconds > 15 ? "in a moment" : "just now";
  for (const [unit, name] of UNITS) {
    if (size < unit && unit !== 60) continue;
    const count = Math.max(1, Math.floor(size / unit));
    return seconds < 0 ? `${count} ${name} ago` : `in ${count} ${name}`;
  }
  return "just now";
}

/** A length of time in milliseconds, short: `840 ms`, `12.3 s`, `4 min 10 s`, `3 h 5 min`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}
