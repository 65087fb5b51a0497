import { z } from "zod";

const SecretName = z.string().min(1).max(256);

/** One use of a secret. Its value is nowhere in it. */
export const AuditedUse = z
  .looseObject({
    use_id: z.string(),
    at: z.string(),
    name: z.string(),
    backend: z.string().describe("Where the value came from."),
    by: z.enum(["run", "secret_fetch"]).describe("A run was given it, or an agent read it."),
    token_id: z.string().nullable().describe("The token that reported it; null of a run's own report."),
    session_id: z.string().nullable(),
    run_id: z.string().nullable(),
  })
  .meta({ id: "AuditedUse" });
export type AuditedUse = z.infer<typeof AuditedUse>;

/** `GET /v2/audit`, newest first. `next_cursor` is absent on the last page. */
export const AuditList = z.looseObject({ uses: z.array(AuditedUse), next_cursor: z.string().optional() });
export type AuditList = z.infer<typeof AuditList>;

export const AuditQuery = z.object({
  name: SecretName.optional().describe("Only this secret."),
  session_id: z.string().max(128).optional(),
  run_id: z.string().max(128).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(20),
  cursor: z.string().max(256).optional(),
});
export type AuditQuery = z.infer<typeof AuditQuery>;

/** Body of `POST /v2/audit/secret-uses`: an agent was handed a secret's value on its own machine. */
export const ReportSecretUse = z
  .strictObject({
    name: SecretName,
    backend: z.string().min(1).max(64),
    session_id: z.string().max(128).optional(),
  })
  .meta({ id: "ReportSecretUse" });
export type ReportSecretUse = z.infer<typeof ReportSecretUse>;
