import { tryNow, useLink } from "../live.js";

/** Says that the gateway does not answer. It goes by itself when it does again. */
export function LinkBar() {
  const link = useLink();
  return (
    <div role="status" aria-live="polite">
      {link === "gone" && (
        <div className="sticky top-0 z-10 flex flex-wrap items-center justify-between gap-x-4 gap-y-1 border-line border-b bg-warn-tint px-4 py-2 text-warn">
          <span>The gateway does not answer. What you see may be old; this page tries again by itself.</span>
          <button type="button" className="font-medium underline" onClick={tryNow}>
            Try now
          </button>
        </div>
      )}
    </div>
  );
}
