import { createStore, useStore } from "../store.js";
import type { Tone } from "./badge.js";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
}

const SHOWN_MS = 5_000;
const toasts = createStore<readonly Toast[]>([]);
let next = 0;

/** Says something for a moment, to screen readers too. What a person must not miss does not belong here. */
export function toast(text: string, tone: Tone = "soft"): void {
  const mine = { id: next++, text, tone };
  toasts.set([...toasts.get().slice(-2), mine]);
  setTimeout(() => toasts.set(toasts.get().filter(({ id }) => id !== mine.id)), SHOWN_MS);
}

export function Toasts() {
  const all = useStore(toasts);
  return (
    <div
      role="status"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-4 bottom-4 z-30 flex flex-col items-end gap-2"
    >
      {all.map(({ id, text, tone }) => (
        <p
          key={id}
          className={`max-w-sm rounded-md border border-line bg-surface px-3 py-2 ${tone === "bad" ? "text-bad" : ""}`}
        >
          {text}
        </p>
      ))}
    </div>
  );
}
