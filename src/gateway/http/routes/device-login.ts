import { getConnInfo } from "@hono/node-server/conninfo";
import { type Context, Hono } from "hono";
import { StartDeviceLoginRequest } from "../../../protocol/device-login.js";
import type { DeviceCodes } from "../../account/device-codes.js";
import { json } from "../validate.js";

/**
 * `/v2/auth/device`: the machine's side of a device login. Nobody has a token here yet.
 *
 * A poll that must go on waiting is 202; the words that end a login come with 200, because public clients take
 * statuses from 400 on for noise (contract section 2.1).
 */
export function deviceLoginRoutes({ devices, publicUrl }: { devices: DeviceCodes; publicUrl: () => string }) {
  return new Hono()
    .post("/", json(StartDeviceLoginRequest), async (c) =>
      c.json(await devices.start(c.req.valid("json"), callerAddress(c), publicUrl())),
    )
    .get("/", async (c) => {
      const answer = await devices.poll(c.req.query("device_code") ?? "");
      const waits = answer.error === "authorization_pending" || answer.error === "slow_down";
      return c.json(answer, waits ? 202 : 200);
    });
}

/** The address a request came from, as the socket knows it. Headers can say anything. */
export function callerAddress(c: Context): string {
  try {
    return getConnInfo(c).remote.address ?? "unknown";
  } catch {
    return "unknown";
  }
}
