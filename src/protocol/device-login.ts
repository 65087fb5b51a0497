import { z } from "zod";
import { Scope } from "./account.js";

/** Body of `POST /v2/auth/device` (RFC 8628, section 3.1, in the contract's words). */
export const StartDeviceLoginRequest = z
  .looseObject({
    machine_name: z.string().max(128).default("unknown machine"),
    scopes: z.array(Scope).min(1).optional().describe("What the token shall be allowed; run when absent."),
  })
  .meta({ id: "StartDeviceLoginRequest" });
export type StartDeviceLoginRequest = z.infer<typeof StartDeviceLoginRequest>;

/** `expires_in` and `interval` are seconds. */
export const DeviceLogin = z.looseObject({
  device_code: z.string(),
  user_code: z.string(),
  verification_uri: z.string(),
  expires_in: z.number().positive().default(900),
  interval: z.number().positive().default(5),
});
export type DeviceLogin = z.infer<typeof DeviceLogin>;

/**
 * One answer of `GET /v2/auth/device`. Refusals come with a status below 400 (contract section 2.1),
 * so the word decides, never the status.
 */
export const DevicePollAnswer = z.looseObject({
  status: z.string().optional(),
  access_token: z.string().optional(),
  account_id: z.string().optional(),
  user_id: z.string().optional(),
  error: z.string().optional(),
  interval: z.number().optional(),
});
export type DevicePollAnswer = z.infer<typeof DevicePollAnswer>;
