import { z } from "zod";
import {
  ConnectedClientList,
  CreatedKey,
  CreateKeyRequest,
  KeyList,
  WhoAmI,
} from "../../../../protocol/account.js";
import { Account, ClientDisconnected, KeyRevoked, SigninLink } from "../../../../protocol/answers.js";
import { DeviceLogin, DevicePollAnswer, StartDeviceLoginRequest } from "../../../../protocol/device-login.js";
import type { Theme } from "../operation.js";

export const auth: Theme = {
  name: "Auth",
  description:
    "Tokens, and how a machine gets one. MCP clients get theirs by OAuth: `/.well-known/oauth-authorization-server` says where.",
  operations: [
    {
      id: "startDeviceLogin",
      method: "post",
      path: "/v2/auth/device",
      summary: "Begin the login of a machine",
      description: "A person approves the code in a browser (RFC 8628).",
      scope: "none",
      body: { json: StartDeviceLoginRequest },
      answers: { 200: { what: "The codes, and where to approve.", json: DeviceLogin } },
      errors: ["too_many_requests"],
    },
    {
      id: "pollDeviceLogin",
      method: "get",
      path: "/v2/auth/device",
      summary: "Ask whether a login was approved",
      scope: "none",
      query: z.object({ device_code: z.string() }),
      answers: {
        200: { what: "The token, or the word that ends the login.", json: DevicePollAnswer },
        202: {
          what: "`authorization_pending` or `slow_down`: ask again after the interval.",
          json: DevicePollAnswer,
        },
      },
    },
    {
      id: "whoami",
      method: "get",
      path: "/v2/auth/whoami",
      summary: "Whose token this is, and what it may do",
      scope: "any",
      answers: { 200: { what: "The account and the scopes.", json: WhoAmI } },
    },
    {
      id: "getAccount",
      method: "get",
      path: "/v2/auth/account",
      summary: "The account's id",
      scope: "any",
      answers: { 200: { what: "The id.", json: Account } },
    },
    {
      id: "listKeys",
      method: "get",
      path: "/v2/auth/keys",
      summary: "The account's tokens, masked",
      scope: "admin",
      answers: { 200: { what: "The tokens.", json: KeyList } },
    },
    {
      id: "createKey",
      method: "post",
      path: "/v2/auth/keys",
      summary: "Make a token",
      scope: "admin",
      body: { json: CreateKeyRequest },
      answers: { 201: { what: "The token, shown this once.", json: CreatedKey } },
    },
    {
      id: "revokeKey",
      method: "delete",
      path: "/v2/auth/keys/{key}",
      summary: "Revoke a token, by its beginning or the whole of it",
      description: "A token may always revoke itself; another one takes the scope admin.",
      scope: "any",
      answers: { 200: { what: "It is revoked.", json: KeyRevoked } },
      errors: ["forbidden", "not_found"],
    },
    {
      id: "listConnectedClients",
      method: "get",
      path: "/v2/auth/clients",
      summary: "The OAuth clients that were let into the account",
      scope: "admin",
      answers: { 200: { what: "The clients, newest first.", json: ConnectedClientList } },
    },
    {
      id: "disconnectClient",
      method: "delete",
      path: "/v2/auth/clients/{client_id}",
      summary: "End what a client was allowed",
      description: "Its tokens stop working at once.",
      scope: "admin",
      answers: { 200: { what: "It is disconnected.", json: ClientDisconnected } },
      errors: ["not_found"],
    },
    {
      id: "createSigninLink",
      method: "post",
      path: "/v2/auth/signin-links",
      summary: "Make a one-time link that signs a browser in",
      scope: "admin",
      answers: { 201: { what: "The link.", json: SigninLink } },
    },
  ],
};
