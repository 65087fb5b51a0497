import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDatabase } from "../store/database.js";
import type { Database } from "../store/schema.js";
import { Accounts } from "./accounts.js";
import { ApiTokens } from "./api-tokens.js";
import { OAuthGrants } from "./oauth-grants.js";

const DAY_MS = 24 * 3600_000;
const verifier = "v".repeat(43);
const request = { verifier, clientId: "https://client.example/c", redirectUri: "https://client.example/cb" };

let db: Database;
let at: number;
let tokens: ApiTokens;
let grants: OAuthGrants;
let accountId: string;
beforeEach(async () => {
  db = await openDatabase(":memory:");
  at = Date.now();
  const now = () => at;
  tokens = new ApiTokens({ db, now });
  grants = new OAuthGrants({ db, tokens, now });
  accountId = (await new Accounts({ db }).ensureLocal()).id;
});
afterEach(() => db.destroy());

const newCode = () =>
  grants.create({
    ...request,
    accountId,
    clientName: "A client",
    scopes: ["read"],
    codeChallenge: createHash("sha256").update(verifier).digest("base64url"),
  });

describe("time", () => {
  test("a code is good for a minute", async () => {
    const [early, late] = [await newCode(), await newCode()];
    at += 59_000;
    expect((await grants.exchange({ ...request, code: early })).scope).toBe("read");
    at += 1_000;
    await expect(grants.exchange({ ...request, code: late })).rejects.toMatchObject({
      code: "invalid_grant",
    });
  });

  test("an access token is good for an hour, a refresh token for thirty days from its last use", async () => {
    const first = await grants.exchange({ ...request, code: await newCode() });
    at += 3_599_000;
    expect(await tokens.verify(first.access_token)).toBeDefined();
    at += 1_000;
    expect(await tokens.verify(first.access_token)).toBeUndefined();
    const clientId = request.clientId;
    at += 29 * DAY_MS;
    const second = await grants.refresh({ clientId, scopes: undefined, refreshToken: first.refresh_token });
    at += 29 * DAY_MS;
    const third = await grants.refresh({ clientId, scopes: undefined, refreshToken: second.refresh_token });
    at += 30 * DAY_MS;
    await expect(
      grants.refresh({ clientId, scopes: undefined, refreshToken: third.refresh_token }),
    ).rejects.toMatchObject({ code: "invalid_grant" });
  });

  test("what is over is cleaned up by the next approval, and leaves the list of keys", async () => {
    await newCode();
    await grants.exchange({ ...request, code: await newCode() });
    expect(await tokens.list(accountId)).toHaveLength(1);
    at += 31 * DAY_MS;
    await newCode();
    expect(await db.selectFrom("oauth_grants").selectAll().execute()).toHaveLength(1);
    expect(await tokens.list(accountId)).toEqual([]);
  });
});
