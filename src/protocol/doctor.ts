import { z } from "zod";

/** `skipped` is what could not be looked at, or what is not there and need not be. */
export const FindingStatus = z.enum(["ok", "warn", "fail", "skipped"]);
export type FindingStatus = z.infer<typeof FindingStatus>;

/** What `cerver doctor --json` prints. */
export const DoctorReport = z.strictObject({
  healthy: z.boolean().describe("No check failed; there may be warnings."),
  version: z.string(),
  checks: z.array(
    z.strictObject({
      name: z.string(),
      status: FindingStatus,
      what: z.string().describe("What was found, in a sentence."),
      fix: z.string().optional().describe("What to type or to do next."),
      ms: z.number().describe("How long it took to look, in milliseconds."),
    }),
  ),
});
export type DoctorReport = z.infer<typeof DoctorReport>;
