import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

const ERROR_OF: Record<string, [status: number, type: string]> = {
  REFUSED: [400, "AccessDeniedException"],
  EXPIRED: [400, "ExpiredTokenException"],
  LIMITED: [400, "ThrottlingException"],
  ODD: [400, "InvalidRequestException"],
  BROKEN: [503, "ServiceUnavailable"],
};

/** Secrets Manager's JSON 1.1 protocol, GetSecretValue only. Signatures are computed again and have to be the same. */
export async function startAwsServer({
  keyId,
  secretKey,
  values,
  canary,
}: {
  keyId: string;
  secretKey: string;
  values: Record<string, { SecretString?: string; SecretBinary?: string }>;
  canary: string;
}) {
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const answer = (status: number, json: object) =>
      response.writeHead(status, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(json));
    const fail = (status: number, type: string) =>
      answer(status, { __type: type, message: `${type} ${canary}` });

    if (!signed(request, body, keyId, secretKey)) return fail(400, "InvalidSignatureException");
    if (request.headers["x-amz-target"] !== "secretsmanager.GetSecretValue")
      return fail(400, "InvalidRequestException");
    const { SecretId: id } = JSON.parse(body) as { SecretId: string };
    asked.push(id);
    if (id === "SLOW") return;
    if (ERROR_OF[id]) return fail(...ERROR_OF[id]);
    const value = Object.hasOwn(values, id) ? values[id] : undefined;
    if (!value) return fail(400, "ResourceNotFoundException");
    answer(200, { ARN: `arn:aws:secretsmanager:eu-west-1:1:secret:${id}`, Name: id, ...value });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

/** Signature version 4, from its specification. */
function signed(request: IncomingMessage, body: string, keyId: string, secretKey: string): boolean {
  const header =
    /Credential=([^/]+)\/(\d+)\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)/;
  const [, id, day, region, service, names, signature] =
    header.exec(request.headers.authorization ?? "") ?? [];
  if (id !== keyId || service !== "secretsmanager" || !names?.split(";").includes("host")) return false;
  const sha = (text: string) => createHash("sha256").update(text).digest("hex");
  const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const headers = names.split(";").map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const canonical = [request.method, "/", "", headers.join(""), names, sha(body)].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, sha(canonical)].join("\n");
  const key = [day!, region!, service, "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${secretKey}`);
  return hmac(key, toSign).toString("hex") === signature;
}
