import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";
import { authorizePage, pkce, press, signInByHttp } from "./oauth-flow.js";
import { hasPostgres, startPostgres } from "./postgres.js";

const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");
const PUBLIC_URL = "https://cerver.example";
const CALLBACK = "http://127.0.0.1:9/callback";

describe.skipIf(!hasPostgres)("two gateways with one PostgreSQL, behind one name", () => {
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  let one: Cerver;
  let two: Cerver;
  beforeAll(async () => {
    postgres = await startPostgres();
    const gateway = { databaseUrl: postgres.url, masterKey: MASTER_KEY, publicUrl: PUBLIC_URL };
    one = await startCerver({ relay: false, gateway });
    two = await startCerver({ relay: false, gateway });
  }, 60_000);
  afterAll(async () => {
    await one?.stop();
    await two?.stop();
    await postgres?.stop();
  });

  const post = async ({ gateway }: Cerver, path: string, body: URLSearchParams | string) => {
    const headers = typeof body === "string" ? { "content-type": "application/json" } : {};
    const answer = await fetch(gateway.url + path, { method: "POST", headers, body });
    return { status: answer.status, body: (await answer.json()) as any };
  };
  const status = async ({ gateway }: Cerver, token: string) =>
    (await fetch(`${gateway.url}/v2/auth/whoami`, { headers: { authorization: `Bearer ${token}` } })).status;

  async function codeFor({ verifier, challenge }: { verifier: string; challenge: string }) {
    const registration = JSON.stringify({ client_name: "Tool", redirect_uris: [CALLBACK] });
    const { client_id } = (await post(one, "/oauth/register", registration)).body;
    const query = new URLSearchParams({
      response_type: "code",
      client_id,
      redirect_uri: CALLBACK,
      code_challenge: challenge,
      code_challenge_method: "S256",
    });
    const cookie = await signInByHttp(one);
    // Shown by one, approved at the other, as behind a proxy that takes turns.
    const { csrf } = await authorizePage(`${one.gateway.url}/oauth/authorize?${query}`, cookie);
    const { to } = await press(`${two.gateway.url}/oauth/authorize?${query}`, cookie, {}, { csrf: csrf! });
    expect(to!.searchParams.get("iss")).toBe(PUBLIC_URL);
    const form = { client_id, redirect_uri: CALLBACK, code_verifier: verifier };
    return new URLSearchParams({
      ...form,
      grant_type: "authorization_code",
      code: to!.searchParams.get("code")!,
    });
  }

  test("each step may go to either of them", async () => {
    const form = await codeFor(pkce());
    const { body: first } = await post(one, "/oauth/token", form);
    expect(await status(two, first.access_token)).toBe(200);
    const refresh = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: form.get("client_id")!,
      refresh_token: first.refresh_token,
    });
    const { body: second } = await post(two, "/oauth/token", refresh);
    expect(await status(one, second.access_token)).toBe(200);
    expect((await post(one, "/oauth/token", refresh)).body.error).toBe("invalid_grant");
    expect(await status(one, second.access_token)).toBe(401);
  });

  test("a code or a refresh token that both get at once is used once, and ends what it gave", async () => {
    const form = await codeFor(pkce());
    const codes = await Promise.all([one, two, one, two].map((at) => post(at, "/oauth/token", form)));
    expect(codes.filter(({ status }) => status === 200)).toHaveLength(1);
    const other = await codeFor(pkce());
    const { body } = await post(one, "/oauth/token", other);
    const refresh = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: other.get("client_id")!,
      refresh_token: body.refresh_token,
    });
    const refreshed = await Promise.all([one, two, one, two].map((at) => post(at, "/oauth/token", refresh)));
    expect(refreshed.filter(({ status }) => status === 200)).toHaveLength(1);
    const { key_masked } = { key_masked: refreshed.find(({ status }) => status === 200)!.body.access_token };
    // A gateway that looked the token up may trust it for some seconds; the database does not.
    const keys = ((await (await one.call("GET", "/v2/auth/keys")).json()) as any).keys as any[];
    expect(keys.some((key) => key_masked.startsWith(key.key_masked.slice(0, -1)))).toBe(false);
  });
});
