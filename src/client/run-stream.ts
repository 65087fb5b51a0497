import type { RunEvent } from "../protocol/runs.js";
import { outcomeUnknown } from "./failures.js";

/** A run's answer may take this much longer than its own timeout: the way there and back, and ending the tree. */
export const RUN_ALLOWANCE_MS = 30_000;

/** How a stream of run events is read, whoever runs. */
export const RUN_STREAM = {
  last: ({ type }: RunEvent) => type === "exit" || type === "error",
  broken: outcomeUnknown,
};
