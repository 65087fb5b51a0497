import { z } from "zod";
import { SCOPES } from "./scopes.js";

export const Scope = z.enum(SCOPES);

/** Body of `POST /v2/auth/keys`. */
export const CreateKeyRequest = z
  .looseObject({
    label: z.string().max(128).default(""),
    scopes: z.array(Scope).min(1).default(["run"]),
    expires_in: z.number().int().positive().max(315_360_000).optional().describe("Seconds from now."),
  })
  .meta({ id: "CreateKeyRequest" });
export type CreateKeyRequest = z.infer<typeof CreateKeyRequest>;

/** `key` is shown this once and never again. */
export const CreatedKey = z.looseObject({
  key: z.string(),
  label: z.string().nullable().optional(),
  scopes: z.array(z.string()).optional(),
  expires_at: z.string().nullable().optional(),
  project_id: z.string().nullable().optional(),
  project_slug: z.string().nullable().optional(),
  kind: z.string().optional(),
});
export type CreatedKey = z.infer<typeof CreatedKey>;

export const KeyList = z.looseObject({
  keys: z.array(
    z.looseObject({
      key_masked: z.string(),
      label: z.string().nullable(),
      scopes: z.array(z.string()).optional(),
      compute_id: z.string().nullable().optional(),
      created_at: z.string(),
      last_used_at: z.string().nullable(),
      expires_at: z.string().nullable().optional(),
      project_id: z.string().nullable().optional(),
      project_slug: z.string().nullable().optional(),
      project_name: z.string().nullable().optional(),
    }),
  ),
});
export type KeyList = z.infer<typeof KeyList>;

/** `GET /v2/auth/clients`: the OAuth clients that people have let into the account. */
export const ConnectedClientList = z
  .looseObject({
    clients: z.array(
      z.looseObject({
        client_id: z.string(),
        name: z.string().describe("What the client calls itself."),
        scopes: z.array(z.string()),
        created_at: z.string(),
        last_used_at: z.string().nullable(),
      }),
    ),
  })
  .meta({ id: "ConnectedClientList" });
export type ConnectedClientList = z.infer<typeof ConnectedClientList>;

/** `GET /v2/auth/whoami`. */
export const WhoAmI = z.looseObject({
  account_id: z.string().optional(),
  scope: z.string().optional().describe("`project` or `global`, as the public clients read it."),
  project_slug: z.string().nullable().optional(),
  scopes: z.array(z.string()).optional(),
  compute_id: z.string().nullable().optional(),
  expires_at: z.string().nullable().optional().describe("When the token ends; null for one that does not."),
});
export type WhoAmI = z.infer<typeof WhoAmI>;
