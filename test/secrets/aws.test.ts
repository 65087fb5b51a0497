import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";
import { startAwsServer } from "./aws-server.js";

const CANARY = "canary-1a2b3c4d";
const KEY = `secret-key-${CANARY}`;
let server: Awaited<ReturnType<typeof startAwsServer>>;
beforeAll(async () => {
  server = await startAwsServer({
    keyId: "AKIATEST",
    secretKey: KEY,
    canary: CANARY,
    values: {
      FOUND: { SecretString: "value-1" },
      "prod/db": { SecretString: JSON.stringify({ password: "p🔑\n2", port: 5432 }) },
      FULL: { SecretString: "x".repeat(65_536) },
      OVER: { SecretString: "x".repeat(65_537) },
      BINARY: { SecretBinary: "/v8=" },
    },
  });
});
afterAll(() => server.close());
// The vendor's SDK reads its own variables.
beforeEach(() => {
  vi.stubEnv("AWS_ENDPOINT_URL", server.url);
  vi.stubEnv("AWS_REGION", "eu-west-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIATEST");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", KEY);
  return () => vi.unstubAllEnvs();
});
const env = { CERVER_SECRETS_BACKEND: "aws" };
const failing = (name: string, signal?: AbortSignal) =>
  openSecrets(env)
    .fetch(name, signal)
    .then(
      () => expect.unreachable("it was given out"),
      (error) => error as Error,
    );

describe("AWS Secrets Manager, by its SDK and signed requests", () => {
  test.each([
    ["FOUND", "value-1"],
    ["prod/db#password", "p🔑\n2"],
    ["prod/db#port", "5432"],
    ["FULL", "x".repeat(65_536)],
  ])("%s is found", async (name, value) => {
    expect(await openSecrets({}).fetch(`aws-sm://${name}`)).toEqual({ name, value, source: "aws" });
  });

  test.each([
    ["UNKNOWN", "secret_not_found"],
    ["prod/db#nothing", "secret_not_found"],
    ["FOUND#key", "secret_not_found"],
    ["REFUSED", "secret_refused"],
    ["EXPIRED", "secret_expired"],
    ["LIMITED", "secret_rate_limited"],
    ["BINARY", "unsupported"],
    ["OVER", "too_large"],
    ["a b", "invalid_request"],
  ])("%s fails as %s, with a next step and nothing secret", async (name, code) => {
    const error = await failing(name);
    expect(error).toMatchObject({ code, hint: expect.stringMatching(/\.$/) });
    expect(JSON.stringify(error, ["code", "message", "hint", "details"])).not.toContain(CANARY);
    expect(error.stack).not.toContain(CANARY);
  });

  test("a key that is not the right one is told as a credential to renew", async () => {
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "another");
    expect(await failing("FOUND")).toMatchObject({ code: "secret_expired" });
  });

  test("nobody at the address is unreachable", async () => {
    vi.stubEnv("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    expect(await failing("FOUND")).toMatchObject({ code: "secret_unreachable" });
  });

  test("an abort and the time limit end a request that gets no answer", async () => {
    const stop = new AbortController();
    const aborted = failing("SLOW", stop.signal);
    await expect.poll(() => server.asked.includes("SLOW")).toBe(true);
    stop.abort();
    expect(await aborted).toMatchObject({ name: "AbortError" });
    await expect(openSecrets(env, { timeoutMs: 300 }).fetch("SLOW")).rejects.toMatchObject({
      code: "secret_unreachable",
    });
  });

  test("what is not on the list is refused without a request", async () => {
    const before = server.asked.length;
    const secrets = openSecrets({ ...env, CERVER_SECRETS_ALLOW: "prod/*" });
    await expect(secrets.fetch("FOUND")).rejects.toMatchObject({ code: "secret_refused" });
    expect(server.asked.length).toBe(before);
  });
});
