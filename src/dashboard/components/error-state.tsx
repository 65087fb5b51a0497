import type { CerverError } from "../../client/index.js";
import { Button } from "./button.js";

/** What went wrong, in the gateway's words, what to do next, and a way to try it again. */
export function ErrorState({ error, retry }: { error: CerverError; retry?: () => void }) {
  return (
    <div
      role="alert"
      className="flex flex-col items-start gap-2 rounded-lg border border-line bg-surface p-4"
    >
      <p className="text-bad">{error.message}</p>
      {error.hint && <p className="text-soft">{error.hint}</p>}
      {retry && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** The same as one line, for a failure beside something that still shows. */
export function ErrorLine({ error }: { error: CerverError | undefined }) {
  return (
    <div role="alert">
      {error && (
        <p className="rounded-md bg-bad-tint px-3 py-2 text-bad">
          {error.message} {error.hint}
        </p>
      )}
    </div>
  );
}
