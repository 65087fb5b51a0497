import { expect, test } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";
import { startAwsServer } from "./aws-server.js";
import { describeBackend, VALUES } from "./backend-suite.js";

const CANARY = "canary-1a2b3c4d";
const KEY = `secret-key-${CANARY}`;

describeBackend(
  "aws",
  {
    scheme: "aws-sm://",
    start: async () => {
      const server = await startAwsServer({
        keyId: "AKIATEST",
        secretKey: KEY,
        canary: CANARY,
        values: {
          PLAIN: { SecretString: VALUES.plain },
          "prod/db": { SecretString: JSON.stringify({ password: VALUES.beyond, port: 5432 }) },
          LINES: { SecretString: VALUES.lines },
          FULL: { SecretString: VALUES.full },
          OVER: { SecretString: VALUES.over },
          BINARY: { SecretBinary: "/v8=" },
        },
      });
      return {
        env: {
          AWS_ENDPOINT_URL: server.url,
          AWS_REGION: "eu-west-1",
          AWS_ACCESS_KEY_ID: "AKIATEST",
          AWS_SECRET_ACCESS_KEY: KEY,
        },
        found: {
          PLAIN: VALUES.plain,
          "prod/db#password": VALUES.beyond,
          "prod/db#port": "5432",
          LINES: VALUES.lines,
          FULL: VALUES.full,
        },
        canary: CANARY,
        failures: {
          not_found: { name: "UNKNOWN" },
          refused: { name: "REFUSED" },
          expired: { name: "EXPIRED" },
          unreachable: { name: "PLAIN", env: { AWS_ENDPOINT_URL: "http://127.0.0.1:1" } },
          rate_limited: { name: "LIMITED" },
        },
        over: "OVER",
        malformed: "a b",
        binary: "BINARY",
        slow: "SLOW",
        asked: () => server.asked.length,
        close: async () => void (await server.close()),
      };
    },
  },
  (store) => {
    const failing = (name: string, env = {}) =>
      openSecrets({ ...store().env, ...env })
        .fetch(`aws-sm://${name}`)
        .then(
          () => expect.unreachable("it was given out"),
          (error) => error as Error,
        );

    test.each([
      ["prod/db#nothing", "secret_not_found"],
      ["PLAIN#key", "secret_not_found"],
      ["ODD", "provider_failed"],
      ["BROKEN", "secret_unreachable"],
    ])("%s fails as %s", async (name, code) => {
      const error = await failing(name);
      expect(error).toMatchObject({ code, hint: expect.stringMatching(/\.$/) });
      expect(error.message + error.stack).not.toContain(CANARY);
    });

    test.each([
      ["another key", { AWS_SECRET_ACCESS_KEY: "another" }, "secret_expired"],
      ["no region", { AWS_REGION: "", AWS_CONFIG_FILE: "/nowhere" }, "unsupported"],
    ])("%s is told as what to set", async (_, env, code) => {
      expect(await failing("PLAIN", env)).toMatchObject({ code });
    });

    test("no credentials at all are told as some to set", async () => {
      const before = process.env;
      // The vendor's own chain looks into these files and at the machine's metadata service.
      process.env = {
        ...before,
        AWS_EC2_METADATA_DISABLED: "true",
        AWS_CONFIG_FILE: "/nowhere/config",
        AWS_SHARED_CREDENTIALS_FILE: "/nowhere/credentials",
      };
      try {
        const error = await failing("PLAIN", { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "" });
        expect(error).toMatchObject({
          code: "secret_expired",
          hint: expect.stringContaining("aws sso login"),
        });
      } finally {
        process.env = before;
      }
    });
  },
);
