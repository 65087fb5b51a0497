import { ConnectedClientList, CreatedKey, KeyList, WhoAmI } from "../protocol/account.js";
import { SigninLink } from "../protocol/answers.js";
import { DeviceLogin, DevicePollAnswer } from "../protocol/device-login.js";
import { failure, notOurs } from "./failures.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** Tokens, and how a machine or a browser gets in. */
export interface KeyCalls {
  /** Whose token this is, and what it may do. */
  whoami(signal?: AbortSignal): Promise<wire.WhoAmI>;
  keys(): Promise<wire.KeyList>;
  /** Makes a token. It is shown this once. */
  createKey(body: wire.CreateKeyRequest): Promise<wire.CreatedKey>;
  /** Revokes a token by its beginning, or by the whole of it. One that is gone already is no failure. */
  revokeKey(prefixOrKey: string): Promise<void>;
  /** The OAuth clients that people have let into the account. */
  connectedClients(): Promise<wire.ConnectedClientList>;
  /** Ends what a client was allowed, by its id of the list. */
  disconnectClient(id: string): Promise<void>;
  /** A one-time link that signs a browser in to the gateway's page. */
  createSigninLink(): Promise<string>;
  startDeviceLogin(body: wire.StartDeviceLoginRequest): Promise<wire.DeviceLogin>;
  /** One poll. The contract's words come as an answer whatever their status; anything else is a failure. */
  pollDeviceLogin(deviceCode: string, signal?: AbortSignal): Promise<wire.DevicePollAnswer>;
}

export function keyCalls(http: GatewayHttp): KeyCalls {
  return {
    whoami: (signal) => http.json("GET", "/v2/auth/whoami", WhoAmI, { signal }),
    keys: () => http.json("GET", "/v2/auth/keys", KeyList),
    createKey: (body) => http.json("POST", "/v2/auth/keys", CreatedKey, { body }),
    async revokeKey(prefixOrKey) {
      const response = await http.send("DELETE", at`/v2/auth/keys/${prefixOrKey}`);
      if (!response.ok && response.status !== 404) throw await failure(response);
      await response.body?.cancel();
    },
    connectedClients: () => http.json("GET", "/v2/auth/clients", ConnectedClientList),
    async disconnectClient(id) {
      await http.raw("DELETE", at`/v2/auth/clients/${id}`);
    },
    createSigninLink: async () =>
      (await http.json("POST", "/v2/auth/signin-links", SigninLink, { body: {} })).url,
    startDeviceLogin: (body) => http.json("POST", "/v2/auth/device", DeviceLogin, { body }),
    async pollDeviceLogin(deviceCode, signal) {
      const response = await http.send("GET", "/v2/auth/device", {
        query: { device_code: deviceCode },
        signal,
      });
      const answer = DevicePollAnswer.safeParse(await response.json().catch(() => undefined));
      if (answer.success && (answer.data.error ?? answer.data.status ?? answer.data.access_token))
        return answer.data;
      throw notOurs(http.gatewayUrl);
    },
  };
}
