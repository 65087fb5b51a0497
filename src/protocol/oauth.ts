import { z } from "zod";

/** Body of `POST /oauth/register` (RFC 7591, section 2), as far as it matters here. */
export const ClientMetadata = z.looseObject({
  client_name: z.string().max(256).optional(),
  redirect_uris: z.array(z.string()).min(1).max(10),
  grant_types: z.array(z.string()).max(10).optional(),
  response_types: z.array(z.string()).max(10).optional(),
});
export type ClientMetadata = z.infer<typeof ClientMetadata>;

/** What a client's document has beside its metadata (draft-ietf-oauth-client-id-metadata-document, section 4). */
export const ClientDocument = z.looseObject({
  client_id: z.string(),
  token_endpoint_auth_method: z.string().optional(),
  client_secret: z.never({ error: "a document that everybody can read holds no secret" }).optional(),
});
