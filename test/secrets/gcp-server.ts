import { createPublicKey, type KeyObject, randomBytes, verify } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const REFUSALS: Record<string, [code: number, status: string]> = {
  REFUSED: [403, "PERMISSION_DENIED"],
  DISABLED: [400, "FAILED_PRECONDITION"],
  LIMITED: [429, "RESOURCE_EXHAUSTED"],
  ODD: [400, "INVALID_ARGUMENT"],
  BROKEN: [503, "UNAVAILABLE"],
};

/**
 * Google's token endpoint and Secret Manager's `versions:access`.
 *
 * The assertion of a service account is verified with its public key, and its claims are read; a token is good for what
 * this server gave it for, and for nothing else.
 */
export async function startGcpServer({
  email,
  publicKey,
  keyId,
  values,
  canary,
}: {
  email: string;
  publicKey: string;
  keyId: string;
  /** By `PROJECT/NAME/VERSION`. */
  values: Record<string, Buffer>;
  canary: string;
}) {
  const key = createPublicKey(publicKey);
  const asked: string[] = [];
  const given = new Set<string>();
  const state = { logins: 0, tokenStatus: 200 };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = (status: number, json: object) =>
      response
        .writeHead(status, { "content-type": "application/json; charset=UTF-8" })
        .end(JSON.stringify(json));
    const fail = (code: number, status: string) =>
      answer(code, { error: { code, message: `${status} ${canary}`, status } });

    if (request.method === "POST" && request.url === "/token") {
      state.logins++;
      if (state.tokenStatus !== 200) return answer(state.tokenStatus, { error: "unavailable" });
      const form = new URLSearchParams(Buffer.concat(chunks).toString());
      const wrong = assertionError(form, { email, keyId, key });
      if (wrong) return answer(400, { error: "invalid_grant", error_description: `${wrong} ${canary}` });
      const token = `ya29.${canary}.${randomBytes(8).toString("hex")}`;
      given.add(token);
      return answer(200, { access_token: token, expires_in: 3599, token_type: "Bearer" });
    }
    const [, project, name, version] =
      /^\/v1\/projects\/([^/]+)\/secrets\/([^/]+)\/versions\/([^/]+):access$/.exec(request.url!) ?? [];
    if (request.method !== "GET" || !name) return fail(404, "NOT_FOUND");
    asked.push(name);
    if (!given.has(request.headers.authorization?.replace(/^Bearer /, "") ?? ""))
      return fail(401, "UNAUTHENTICATED");
    if (name === "SLOW") return;
    if (name === "HTML") return response.writeHead(200).end("<p>Sign in</p>");
    if (REFUSALS[name]) return fail(...REFUSALS[name]);
    const value = values[`${project}/${name}/${version}`];
    if (!value) return fail(404, "NOT_FOUND");
    answer(200, {
      name: `projects/1/secrets/${name}/versions/1`,
      payload: { data: value.toString("base64"), dataCrc32c: "0" },
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    asked,
    state,
    revoke: () => given.clear(),
    /** Takes what goes to Google to this server; the token's address is fixed in Google's library. */
    fetch: ((input, init) => {
      const to = String(input instanceof Request ? input.url : input)
        .replace("https://oauth2.googleapis.com/token", `${url}/token`)
        .replace("https://secretmanager.googleapis.com", url);
      if (!to.startsWith(`${url}/`) && !to.startsWith("http://127.0.0.1:1/"))
        throw new Error(`The test knows no server for ${to}.`);
      return globalThis.fetch(to, init);
    }) as typeof globalThis.fetch,
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

/** RFC 7523: what is wrong with the assertion, if anything is. */
function assertionError(
  form: URLSearchParams,
  { email, keyId, key }: { email: string; keyId: string; key: KeyObject },
): string | undefined {
  if (form.get("grant_type") !== "urn:ietf:params:oauth:grant-type:jwt-bearer") return "Bad grant type";
  const [head = "", body = "", signature = ""] = (form.get("assertion") ?? "").split(".");
  if (!verify("RSA-SHA256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url")))
    return "Invalid JWT Signature";
  const json = (part: string) =>
    JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  const { alg, kid } = json(head);
  if (alg !== "RS256" || (kid !== undefined && kid !== keyId)) return "Invalid JWT header";
  const { iss, aud, scope, iat, exp } = json(body);
  if (iss !== email || aud !== "https://oauth2.googleapis.com/token") return "Invalid issuer or audience";
  if (scope !== "https://www.googleapis.com/auth/cloud-platform") return "Invalid scope";
  const now = Date.now() / 1000;
  if (typeof iat !== "number" || typeof exp !== "number") return "Invalid times";
  if (iat > now + 60 || exp < now || exp - iat > 3600) return "Token must be a short-lived token";
  return undefined;
}
