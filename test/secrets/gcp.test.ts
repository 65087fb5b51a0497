import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";
import { describeBackend, VALUES } from "./backend-suite.js";
import { startGcpServer } from "./gcp-server.js";

const CANARY = "canary-2c3d4e5f";
const EMAIL = "reader@acme-prod.iam.gserviceaccount.com";
let server: Awaited<ReturnType<typeof startGcpServer>>;
let folder: string;

const pair = () =>
  generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
/** A key file as Google's console makes it. */
const keyFile = (name: string, privateKey: string) => {
  const path = join(folder, name);
  const key = {
    type: "service_account",
    project_id: "acme-prod",
    private_key_id: "key-1",
    private_key: privateKey,
    client_email: EMAIL,
    client_id: "1",
    token_uri: "https://oauth2.googleapis.com/token",
    universe_domain: "googleapis.com",
  };
  writeFileSync(path, JSON.stringify(key), { mode: 0o600 });
  return path;
};

describeBackend(
  "gcp",
  {
    scheme: "gcp-sm://",
    start: async () => {
      folder = mkdtempSync(join(tmpdir(), "secrets-gcp-"));
      const { publicKey, privateKey } = pair();
      server = await startGcpServer({
        email: EMAIL,
        publicKey,
        keyId: "key-1",
        canary: CANARY,
        values: {
          "acme-prod/PLAIN/latest": Buffer.from(VALUES.plain),
          "acme-prod/PLAIN/3": Buffer.from("third"),
          "acme-dev/PLAIN/latest": Buffer.from("dev"),
          "acme-dev/PLAIN/2": Buffer.from("dev 2"),
          "acme-prod/LINES/latest": Buffer.from(VALUES.lines),
          "acme-prod/BEYOND/latest": Buffer.from(VALUES.beyond),
          "acme-prod/FULL/latest": Buffer.from(VALUES.full),
          "acme-prod/OVER/latest": Buffer.from(VALUES.over),
          "acme-prod/BINARY/latest": Buffer.from([0xff, 0xfe]),
        },
      });
      return {
        env: { GOOGLE_APPLICATION_CREDENTIALS: keyFile("key.json", privateKey) },
        fetch: server.fetch,
        found: {
          PLAIN: VALUES.plain,
          "PLAIN/3": "third",
          "acme-dev/PLAIN": "dev",
          "acme-dev/PLAIN/2": "dev 2",
          "projects/acme-dev/secrets/PLAIN/versions/2": "dev 2",
          LINES: VALUES.lines,
          BEYOND: VALUES.beyond,
          FULL: VALUES.full,
        },
        canary: CANARY,
        failures: {
          not_found: { name: "UNKNOWN" },
          refused: { name: "REFUSED" },
          expired: {
            name: "PLAIN",
            env: { GOOGLE_APPLICATION_CREDENTIALS: keyFile("old.json", pair().privateKey) },
          },
          unreachable: {
            name: "PLAIN",
            env: { CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER: "http://127.0.0.1:1/" },
          },
          rate_limited: { name: "LIMITED" },
        },
        over: "OVER",
        malformed: "a b",
        binary: "BINARY",
        slow: "SLOW",
        asked: () => server.asked.length,
        close: async () => {
          await server.close();
          rmSync(folder, { recursive: true, force: true });
        },
      };
    },
  },
  (store) => {
    const open = (env = {}) => openSecrets({ ...store().env, ...env }, { fetch: server.fetch });
    const fetching = (name: string, env = {}) => open(env).fetch(`gcp-sm://${name}`);
    afterEach(() => {
      server.state.tokenStatus = 200;
    });

    test("the configured project goes before the key's own", async () => {
      expect((await fetching("PLAIN", { GOOGLE_CLOUD_PROJECT: "acme-dev" })).value).toBe("dev");
    });

    test.each([
      ["DISABLED", "secret_refused"],
      ["ODD", "provider_failed"],
      ["HTML", "secret_unreachable"],
      ["BROKEN", "secret_unreachable"],
      ["a/b/c/d", "invalid_request"],
      ["acme-prod/../PLAIN", "invalid_request"],
    ])("%s fails as %s", async (name, code) => {
      await expect(fetching(name)).rejects.toMatchObject({ code });
    });

    test.each([
      [429, "secret_rate_limited"],
      [503, "secret_unreachable"],
    ])("HTTP %i where tokens are given out fails as %s", async (status, code) => {
      server.state.tokenStatus = status;
      await expect(fetching("PLAIN")).rejects.toMatchObject({ code });
    });

    test("a key file that is not there is told as what to set", async () => {
      await expect(
        fetching("PLAIN", { GOOGLE_APPLICATION_CREDENTIALS: "/nowhere/key.json" }),
      ).rejects.toMatchObject({
        code: "unsupported",
        hint: expect.stringContaining("GOOGLE_APPLICATION_CREDENTIALS"),
      });
    });

    test("one login serves until its token is taken back", async () => {
      const secrets = open();
      const logins = async () => {
        const before = server.state.logins;
        expect((await secrets.fetch("gcp-sm://PLAIN")).value).toBe(VALUES.plain);
        return server.state.logins - before;
      };
      expect([await logins(), await logins()]).toEqual([1, 0]);
      server.revoke();
      expect([await logins(), await logins()]).toEqual([1, 0]);
    });
  },
);
