import { useEffect, useState } from "react";

/** What is quicker than this shows no sign of loading: it would flicker. */
const SHOW_AFTER_MS = 150;

/** Grey lines in the place of what is being read, and words for screen readers. */
export function Loading({ what, lines = 6 }: { what: string; lines?: number }) {
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), SHOW_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div role="status" className="flex flex-col gap-3 p-4">
      <span className="sr-only">Reading {what}…</span>
      {isShown &&
        Array.from({ length: lines }, (_, line) => (
          <div key={line} aria-hidden className="h-8 motion-safe:animate-pulse rounded-md bg-raised" />
        ))}
    </div>
  );
}
