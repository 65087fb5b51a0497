import { z } from "zod";

/** What counts as activity. Reading a session never does: a page that is left open keeps nothing awake. */
export const ActivityKind = z.enum([
  "create",
  "run",
  "stdin",
  "file",
  "install",
  "input",
  "preview",
  "resume",
]);
export type ActivityKind = z.infer<typeof ActivityKind>;

/** `GET /v2/sessions/:id/why`: why a session holds a compute now, and until when it will. */
export const WhyAwake = z
  .looseObject({
    session_id: z.string(),
    state: z.enum(["active", "waiting", "paused", "ended", "no_compute"]),
    reason: z.string().describe("In words."),
    running: z.array(z.looseObject({ run_id: z.string(), since: z.string() })),
    last_activity: z.looseObject({ kind: z.string(), caller: z.string(), at: z.string() }).nullable(),
    sleeps_at: z.string().nullable().describe("When it is paused if nothing happens until then."),
    ends_at: z.string().nullable().describe("Its deadline, from requirements.timeout_minutes."),
    cost_usd: z.number(),
    activity: z
      .array(
        z.looseObject({
          kind: z.string(),
          caller: z.string(),
          count: z.number().int(),
          first_at: z.string(),
          last_at: z.string(),
        }),
      )
      .describe("All that has moved the idle clock, latest first."),
  })
  .meta({ id: "WhyAwake" });
export type WhyAwake = z.infer<typeof WhyAwake>;
