import { z } from "zod";

/**
 * `ready` means: a live socket, and a heartbeat that is not overdue. Everything else is `offline`.
 * Other gateways also say online, connected and unknown.
 */
export const ComputeStatus = z.enum(["ready", "offline"]);
export type ComputeStatus = z.infer<typeof ComputeStatus>;

const facts = z
  .record(z.string(), z.unknown())
  .refine((value) => JSON.stringify(value).length <= 65_536, { message: "is larger than 64 kB of JSON" });

/** Body of `POST /v2/computes/register` (contract section 3.1). */
export const RegisterComputeRequest = z
  .looseObject({
    label: z.string().min(1).max(128),
    kind: z.string().max(64).default("local"),
    provider: z.string().max(64).default("cerver_local_provider"),
    compute_id: z
      .string()
      .regex(/^[A-Za-z0-9_-]{6,80}$/)
      .optional()
      .describe("The id this host was given before. The gateway keeps it when it belongs to this account."),
    capabilities: facts.default({}),
    metadata: facts
      .default({})
      .describe(
        "What the host says of itself. `labels`: names and values that sessions may require. `machine_id`: a host that lost its id is known by it again.",
      ),
    connection: z.looseObject({ transport: z.string().optional() }).optional(),
  })
  .meta({ id: "RegisterComputeRequest" });
export type RegisterComputeRequest = z.infer<typeof RegisterComputeRequest>;

/** `relay_token` is there once: a credential for this compute alone. Older gateways send none. */
export const RegisteredCompute = z.looseObject({
  compute_id: z.string(),
  owner_id: z.string().optional(),
  relay_token: z.string().optional(),
});
export type RegisteredCompute = z.infer<typeof RegisteredCompute>;

/** Body of `POST /v2/computes/:id/heartbeat`. */
export const HeartbeatRequest = z.looseObject({
  status: z.string().default("online"),
  capabilities: facts.optional(),
  metadata: facts.optional(),
});
export type HeartbeatRequest = z.infer<typeof HeartbeatRequest>;

/** A compute as it is listed, in snake_case. */
export const Compute = z
  .looseObject({
    compute_id: z.string(),
    label: z.string(),
    provider: z.string(),
    kind: z.string(),
    scope: z.string(),
    status: z.string(),
    last_heartbeat_at: z.string().nullable().optional(),
    capabilities: z.record(z.string(), z.unknown()).optional(),
    metadata: z.record(z.string(), z.unknown()).optional(),
    owner_id: z.string().optional(),
  })
  .meta({ id: "Compute" });
export type Compute = z.infer<typeof Compute>;
export const ComputeList = z.looseObject({ computes: z.array(Compute) });

/** Body of `POST /v2/computes/:id/exec`: one request to the compute's own surface (contract sections 3.1 and 4.4). */
export const ComputeExecRequest = z
  .strictObject({
    method: z.enum(["GET", "POST", "PUT", "PATCH", "DELETE"]).default("GET"),
    path: z
      .string()
      .max(4096)
      .regex(/^\/api\/[^?#\s]*$/, "has to begin with /api/ and hold no query")
      .describe("A path of the relay, such as /api/cerver/provider."),
    query: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
    body: z.unknown().optional(),
  })
  .meta({ id: "ComputeExecRequest" });
export type ComputeExecRequest = z.infer<typeof ComputeExecRequest>;
