import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { CerverError } from "../../src/protocol/errors.js";
import { openSecrets } from "../../src/secrets/secrets.js";
import { describeBackend, VALUES } from "./backend-suite.js";

const CANARY = "canary-7a8b9c0d";

/** A program with the documented interface of `op read`: options, exit codes, and its messages on stderr. It is no `op`. */
const OP = (folder: string) => `#!/bin/sh
echo x >> '${folder}/asked'
env | cut -d= -f1 > '${folder}/env'
fail() { echo "[ERROR] 2026/11/24 10:00:00 could not read secret '$3': $1 ${CANARY}" >&2; exit 1; }
[ "$1 $2" = "read --no-newline" ] || { echo "unknown command" >&2; exit 1; }
case "$3" in
  op://ci/plain/password) printf '%s' '${VALUES.plain}' ;;
  op://ci/lines/notes) printf 'a\\nb\\n\\tc' ;;
  "op://My Vault/be yond/API/key") printf '${VALUES.beyond}' ;;
  op://ci/full/text) head -c 65536 /dev/zero | tr '\\0' x ;;
  op://ci/over/text) head -c 65537 /dev/zero | tr '\\0' x ;;
  op://ci/binary/file) printf '\\377\\376' ;;
  op://agents/STRIPE_KEY/credential) printf stripe ;;
  op://ci/slow/x) sleep 60 ;;
  op://permission/vault/timeout) fail '"vault" isn'"'"'t an item in the "permission" vault.' "" "$3" ;;
  op://nowhere/*) fail '"nowhere" isn'"'"'t a vault in this account.' "" "$3" ;;
  op://ci/refused/x) fail '(403) Forbidden: You do not have permission to perform this action.' "" "$3" ;;
  op://ci/signedout/x) fail 'You are not currently signed in. Please run "op signin --help" for instructions' "" "$3" ;;
  op://ci/expired/x) fail '(401) Unauthorized: Authentication required' "" "$3" ;;
  op://ci/offline/x) fail 'Post "https://my.1password.com/api/v3/auth/start": dial tcp: lookup my.1password.com: no such host' "" "$3" ;;
  op://ci/limited/x) fail '(429) Too Many Requests: rate limit exceeded, retry later' "" "$3" ;;
  *) fail 'something else' "" "$3" ;;
esac
`;
let folder: string;

describeBackend(
  "1password",
  {
    scheme: "op://",
    start: async () => {
      folder = mkdtempSync(join(tmpdir(), "secrets-op-"));
      writeFileSync(join(folder, "op"), OP(folder), { mode: 0o755 });
      writeFileSync(join(folder, "asked"), "");
      return {
        env: {
          PATH: `${folder}:${process.env.PATH}`,
          OP_ACCOUNT: "acme",
          CERVER_API_TOKEN: "ck_x",
          OTHER: "x",
        },
        found: {
          "ci/plain/password": VALUES.plain,
          "ci/lines/notes": VALUES.lines,
          "My Vault/be yond/API/key": VALUES.beyond,
          "ci/full/text": VALUES.full,
        },
        canary: CANARY,
        failures: {
          not_found: { name: "nowhere/item/field" },
          refused: { name: "ci/refused/x" },
          expired: { name: "ci/expired/x" },
          unreachable: { name: "ci/offline/x" },
          rate_limited: { name: "ci/limited/x" },
        },
        over: "ci/over/text",
        malformed: "ci/../x/$(id)",
        binary: "ci/binary/file",
        slow: "ci/slow/x",
        asked: () => readFileSync(join(folder, "asked"), "utf8").length,
        close: () => rmSync(folder, { recursive: true, force: true }),
      };
    },
  },
  (store) => {
    const fetching = (name: string, env = {}) =>
      openSecrets({ ...store().env, CERVER_SECRETS_BACKEND: "1password", ...env }).fetch(name);

    test.each([
      ["ci/signedout/x", "secret_expired"],
      ["permission/vault/timeout", "secret_not_found"],
      ["ci/odd/x", "provider_failed"],
    ])("%s fails as %s", async (name, code) => {
      await expect(fetching(name)).rejects.toMatchObject({ code });
    });

    test("a bare name is looked for where the configuration says", async () => {
      const env = { CERVER_SECRETS_OP_REFERENCE: "op://agents/{name}/credential" };
      expect((await fetching("STRIPE_KEY", env)).value).toBe("stripe");
      await expect(fetching("STRIPE_KEY")).rejects.toMatchObject({
        code: "unsupported",
        hint: expect.stringContaining("CERVER_SECRETS_OP_REFERENCE"),
      });
    });

    test("op gets its own variables and the usual, and nothing else", async () => {
      await fetching("ci/plain/password");
      const names = readFileSync(join(folder, "env"), "utf8").split("\n");
      expect(names).toContain("OP_ACCOUNT");
      expect(names).not.toContain("OTHER");
      expect(names).not.toContain("CERVER_API_TOKEN");
    });

    test("a machine without op is told so", async () => {
      await expect(fetching("ci/plain/password", { PATH: "/nowhere" })).rejects.toMatchObject({
        code: "unsupported",
        hint: expect.stringContaining("Install 1Password's program op"),
      });
    });
  },
);

/**
 * The vendor's SDK, as far as it goes without 1Password's own servers: what is read there is encrypted to keys that only
 * they and the account have. So this is its login, on the wire, when it fails.
 */
describe("1Password's SDK with a service account's token", () => {
  const b64 = (size: number, byte: number) => Buffer.alloc(size, byte).toString("base64url");
  const token = `ops_${Buffer.from(
    JSON.stringify({
      signInAddress: "my.1password.com",
      email: `${CANARY}@1passwordserviceaccounts.com`,
      srpX: "bd".repeat(32),
      muk: {
        alg: "A256GCM",
        ext: true,
        k: b64(32, 7),
        key_ops: ["encrypt", "decrypt"],
        kty: "oct",
        kid: "mp",
      },
      secretKey: "A3-C4ZJMN-PQTZTL-HGL84-G64M7-KVZRN-4ZVP6",
      deviceUuid: "yrkdmusoblmgm6siuj4kcssxke",
      userAuth: { method: "SRPg-4096", alg: "PBES2g-HS256", iterations: 650_000, salt: b64(16, 3) },
      throttleSecret: { seed: "cd".repeat(32), uuid: "yrkdmusoblmgm6siuj4kcssxke" },
    }),
  ).toString("base64url")}`;
  const asked: string[] = [];
  let status = 0;
  const server = createServer((request, response) => {
    asked.push(request.url!);
    if (status)
      response.writeHead(status, { "content-type": "application/json" }).end(`{"reason":"${CANARY}"}`);
  });
  beforeAll(() => new Promise<void>((done) => server.listen(0, "127.0.0.1", done)));
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  afterEach(() => vi.unstubAllGlobals());

  /** The SDK asks its own hosts only, by the global fetch: here they are this test's server. */
  const goTo = (port: number) => {
    const { fetch } = globalThis;
    vi.stubGlobal("fetch", (request: Request) =>
      fetch(
        new Request(request.url.replace("https://my.1password.com", `http://127.0.0.1:${port}`), request),
      ),
    );
  };
  const here = () => (server.address() as AddressInfo).port;
  const failing = (env = {}, options = {}) =>
    openSecrets({ OP_SERVICE_ACCOUNT_TOKEN: token, PATH: "/nowhere", ...env }, options)
      .fetch("op://ci/stripe/key")
      .then(
        () => expect.unreachable("it was given out"),
        (error) => error as CerverError,
      );

  test.each([
    [401, "secret_expired"],
    [403, "secret_refused"],
    [429, "secret_rate_limited"],
    [500, "secret_unreachable"],
    [503, "secret_unreachable"],
  ])("HTTP %i at its login is %s", async (code, expected) => {
    status = code;
    goTo(here());
    const before = asked.length;
    const error = await failing();
    expect(error).toMatchObject({ code: expected, hint: expect.any(String) });
    expect(asked.slice(before)).toContain("/api/v3/auth/start");
    expect(JSON.stringify(error, ["message", "hint"]) + error.stack).not.toContain(CANARY);
    expect(error.stack).not.toContain(token.slice(0, 40));
  });

  test("nobody at the address is unreachable", async () => {
    goTo(1);
    expect(await failing()).toMatchObject({ code: "secret_unreachable" });
  });

  test("a login that is never answered is cut off in time", async () => {
    status = 0;
    goTo(here());
    const begun = Date.now();
    expect(await failing({}, { timeoutMs: 700 })).toMatchObject({ code: "secret_unreachable" });
    expect(Date.now() - begun).toBeLessThan(3000);
  });

  test("a token that is none is a credential to renew, and not shown", async () => {
    const error = await failing({ OP_SERVICE_ACCOUNT_TOKEN: `ops_${CANARY}` });
    expect(error).toMatchObject({ code: "secret_expired" });
    expect(error.message + error.stack).not.toContain(CANARY);
  });
});
