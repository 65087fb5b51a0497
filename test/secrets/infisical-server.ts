import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** What is at `PROJECT ENVIRONMENT FOLDER NAME`. */
type Values = Record<string, string>;

const REFUSALS: Record<string, [status: number, error: string]> = {
  REFUSED: [403, "PermissionDenied"],
  OLDER: [403, "TokenError"],
  LIMITED: [429, "RateLimitExceeded"],
  ODD: [422, "ValidationFailure"],
  BROKEN: [500, "InternalServerError"],
};

/** Infisical's routes for the login of a machine identity and for one secret, as its SDK 5 calls them. */
export async function startInfisicalServer({
  clientId,
  clientSecret,
  tokens,
  values,
  canary,
}: {
  clientId: string;
  clientSecret: string;
  /** Access and service tokens that are good for as long as the server runs. */
  tokens: string[];
  values: Values;
  canary: string;
}) {
  const asked: string[] = [];
  const given = new Set<string>();
  const state = { logins: 0, expiresIn: 7200 };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url!, "http://localhost");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = (status: number, json: object) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
    const fail = (statusCode: number, error: string) =>
      answer(statusCode, { reqId: "req-1", statusCode, message: `${error} ${canary}`, error });

    if (request.method === "POST" && url.pathname === "/api/v1/auth/universal-auth/login") {
      state.logins++;
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
      if (body.clientId !== clientId || body.clientSecret !== clientSecret) return fail(401, "Unauthorized");
      const accessToken = `eyJ.${state.logins}.${canary}`;
      given.add(accessToken);
      const { expiresIn } = state;
      return answer(200, { accessToken, expiresIn, accessTokenMaxTTL: 7200, tokenType: "Bearer" });
    }
    if (url.pathname === "/elsewhere") return answer(200, { secret: { secretValue: "from elsewhere" } });
    const [, name] = /^\/api\/v3\/secrets\/raw\/([^/]+)$/.exec(url.pathname) ?? [];
    if (request.method !== "GET" || !name) return fail(404, "NotFound");
    const secretKey = decodeURIComponent(name);
    asked.push(secretKey);
    const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
    if (!given.has(token) && !tokens.includes(token)) return fail(401, "Unauthorized");
    if (secretKey === "SLOW") return;
    if (secretKey === "MOVED") return response.writeHead(307, { location: "/elsewhere" }).end();
    if (secretKey === "HIDDEN")
      return answer(200, {
        secret: { secretKey, secretValue: "<hidden-by-infisical>", secretValueHidden: true },
      });
    if (secretKey === "HTML") return response.writeHead(200).end("<p>Sign in</p>");
    if (REFUSALS[secretKey]) return fail(...REFUSALS[secretKey]);
    const [workspace, environment, secretPath] = ["workspaceId", "environment", "secretPath"].map((key) =>
      url.searchParams.get(key),
    );
    const secretValue = values[`${workspace} ${environment} ${secretPath} ${secretKey}`];
    if (secretValue === undefined) return fail(404, "NotFound");
    answer(200, {
      secret: {
        id: "1",
        workspace,
        environment,
        version: 1,
        type: "shared",
        secretKey,
        secretValue,
        secretPath,
      },
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    state,
    /** Takes back every token that a login gave. */
    revoke: () => given.clear(),
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}
