import { setTimeout as sleep } from "node:timers/promises";
import type { GatewayClient } from "../client/gateway-client.js";
import type { DevicePollAnswer } from "../protocol/device-login.js";
import { CerverError } from "../protocol/errors.js";
import type { Scope } from "../protocol/scopes.js";

export interface DeviceLoginDeps {
  client: Pick<GatewayClient, "startDeviceLogin" | "pollDeviceLogin" | "gatewayUrl">;
  /** What the page shows as the asking machine. */
  machineName: string;
  scopes: Scope[];
  openBrowser(url: string): Promise<boolean>;
  /** Tells the person what to do, a line at a time. */
  say(line: string): void;
  signal: AbortSignal;
}

/** RFC 8628, section 3.5: `slow_down` adds this to the interval. */
const SLOW_DOWN_SECONDS = 5;

/** Logs in through a browser (RFC 8628): shows a code, waits until somebody approves it, returns the token. */
export async function deviceLogin(deps: DeviceLoginDeps): Promise<{ token: string; accountId?: string }> {
  const { client, machineName, scopes, openBrowser, say, signal } = deps;
  const login = await client.startDeviceLogin({ machine_name: machineName, scopes });
  say(`To connect this machine, open   ${login.verification_uri}`);
  say(`and approve the code            ${login.user_code}`);
  await openBrowser(login.verification_uri);

  const until = performance.now() + login.expires_in * 1000;
  let interval = login.interval;
  while (performance.now() < until) {
    await sleep(interval * 1000, undefined, { signal });
    const answer = await poll(client, login.device_code, signal);
    if (answer?.access_token) {
      return { token: answer.access_token, ...(answer.account_id && { accountId: answer.account_id }) };
    }
    if (answer?.error === "slow_down")
      interval = Math.max(interval + SLOW_DOWN_SECONDS, answer.interval ?? 0);
    else refuseEnd(answer);
  }
  throw expired();
}

/** One poll; undefined when the network failed, which is worth another try. */
async function poll(
  client: DeviceLoginDeps["client"],
  deviceCode: string,
  signal: AbortSignal,
): Promise<DevicePollAnswer | undefined> {
  try {
    return await client.pollDeviceLogin(deviceCode, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CerverError && error.code === "gateway_unreachable") return undefined;
    throw error;
  }
}

function refuseEnd(answer: DevicePollAnswer | undefined): void {
  switch (answer?.error) {
    case "access_denied":
      throw new CerverError("forbidden", "The login was denied in the browser.", {
        hint: "Run the command again to ask once more.",
      });
    case "expired_token":
      throw expired();
    case "invalid_device_code":
      throw new CerverError("unauthenticated", "The gateway does not know this login any more.", {
        hint: "Run the command again to get a new code.",
      });
  }
}

function expired(): CerverError {
  return new CerverError("timed_out", "Nobody approved the code in time.", {
    hint: "Run the command again to get a new code.",
  });
}
