import { beforeEach, expect, test } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";
import { describeBackend, VALUES } from "./backend-suite.js";
import { startInfisicalServer } from "./infisical-server.js";

const CANARY = "canary-5e6f7a8b";
const CLIENT = { clientId: "client-1", clientSecret: `secret-${CANARY}` };
const SERVICE_TOKEN = `st.${CANARY}.abc`;
const ACCESS_TOKEN = `eyJhbGciOiJIUzI1NiJ9.${CANARY}.sig`;
let server: Awaited<ReturnType<typeof startInfisicalServer>>;

describeBackend(
  "infisical",
  {
    scheme: "infisical://",
    start: async () => {
      server = await startInfisicalServer({
        ...CLIENT,
        tokens: [SERVICE_TOKEN, ACCESS_TOKEN],
        canary: CANARY,
        values: {
          "proj-1 prod / PLAIN": VALUES.plain,
          "proj-1 prod / BEYOND": VALUES.beyond,
          "proj-1 prod /payments/eu LINES": VALUES.lines,
          "proj-1 staging / PLAIN": "staged",
          "proj-2 prod / PLAIN": "other",
          "proj-1 prod / FULL": VALUES.full,
          "proj-1 prod / OVER": VALUES.over,
        },
      });
      return {
        env: {
          INFISICAL_UNIVERSAL_AUTH_CLIENT_ID: CLIENT.clientId,
          INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET: CLIENT.clientSecret,
          INFISICAL_PROJECT_ID: "proj-1",
          INFISICAL_SITE_URL: server.url,
        },
        found: {
          PLAIN: VALUES.plain,
          BEYOND: VALUES.beyond,
          "payments/eu/LINES": VALUES.lines,
          "PLAIN?env=staging": "staged",
          "PLAIN?project=proj-2": "other",
          FULL: VALUES.full,
        },
        canary: CANARY,
        failures: {
          not_found: { name: "UNKNOWN" },
          refused: { name: "REFUSED" },
          expired: { name: "PLAIN", env: { INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET: `old-${CANARY}` } },
          unreachable: { name: "PLAIN", env: { INFISICAL_SITE_URL: "http://127.0.0.1:1" } },
          rate_limited: { name: "LIMITED" },
        },
        over: "OVER",
        malformed: "../PLAIN",
        slow: "SLOW",
        asked: () => server.asked.length,
        close: async () => void (await server.close()),
      };
    },
  },
  (store) => {
    const place = () => ({ INFISICAL_PROJECT_ID: "proj-1", INFISICAL_SITE_URL: server.url });
    const fetching = (name: string, env = store().env) => openSecrets(env).fetch(`infisical://${name}`);
    beforeEach(() => {
      server.state.expiresIn = 7200;
    });

    test("the configuration of the README works as it is written there", async () => {
      const secrets = openSecrets({
        CERVER_API_TOKEN: "ck_...",
        CERVER_SECRETS_BACKEND: "infisical",
        INFISICAL_TOKEN: SERVICE_TOKEN,
        INFISICAL_PROJECT_ID: "proj-1",
        INFISICAL_ENVIRONMENT: "prod",
        INFISICAL_SITE_URL: server.url,
      });
      expect(await secrets.fetch("PLAIN")).toEqual({
        name: "PLAIN",
        value: VALUES.plain,
        source: "infisical",
      });
    });

    test.each([
      ["an access token", { INFISICAL_TOKEN: ACCESS_TOKEN }],
      [
        "an access token beside a client id",
        { INFISICAL_TOKEN: ACCESS_TOKEN, INFISICAL_CLIENT_ID: "another" },
      ],
      [
        "a client id with its secret",
        { INFISICAL_CLIENT_ID: "client-1", INFISICAL_CLIENT_SECRET: CLIENT.clientSecret },
      ],
      [
        "a client id and the secret as token",
        { INFISICAL_CLIENT_ID: "client-1", INFISICAL_TOKEN: CLIENT.clientSecret },
      ],
    ])("%s logs in", async (_, login) => {
      expect((await fetching("PLAIN", { ...place(), ...login })).value).toBe(VALUES.plain);
    });

    test.each([
      [{ INFISICAL_ENV: "staging" }, "staged"],
      [{ INFISICAL_ENVIRONMENT: "staging" }, "staged"],
      [{ INFISICAL_ENVIRONMENT: "prod", INFISICAL_ENV: "staging" }, VALUES.plain],
    ])("the environment of %j is used", async (env, value) => {
      expect((await fetching("PLAIN", { ...store().env, ...env })).value).toBe(value);
    });

    test.each(["INFISICAL_BASE_URL", "INFISICAL_API_URL"])("%s names the site too", async (variable) => {
      const env = { ...store().env, INFISICAL_SITE_URL: "", [variable]: `${server.url}/api/` };
      expect((await fetching("PLAIN", env)).value).toBe(VALUES.plain);
    });

    test.each([
      ["INFISICAL_PROJECT_ID", ""],
      ["INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET", ""],
      ["INFISICAL_SITE_URL", "infisical.example"],
    ])("%s as %j is told as what to set", async (variable, value) => {
      const error = await fetching("PLAIN", { ...store().env, [variable]: value }).catch((reason) => reason);
      expect(error).toMatchObject({ code: "unsupported", hint: expect.stringContaining(variable) });
    });

    test.each([
      ["OLDER", "secret_expired"],
      ["HIDDEN", "secret_refused"],
      ["HTML", "secret_unreachable"],
      ["ODD", "provider_failed"],
      ["BROKEN", "secret_unreachable"],
      ["MOVED", "secret_unreachable"],
      ["PLAIN?path=/", "invalid_request"],
      ["payments//LINES", "invalid_request"],
    ])("%s fails as %s", async (name, code) => {
      await expect(fetching(name)).rejects.toMatchObject({ code });
    });

    test("a rate limit is told at once, after one request", async () => {
      const [before, begun] = [server.asked.length, Date.now()];
      await expect(fetching("LIMITED")).rejects.toMatchObject({ code: "secret_rate_limited" });
      expect(server.asked.length - before).toBe(1);
      expect(Date.now() - begun).toBeLessThan(900);
    });

    test("twenty that wait for a login share one", async () => {
      const secrets = openSecrets(store().env);
      const before = server.state.logins;
      await Promise.all(Array.from({ length: 20 }, () => secrets.fetch("infisical://PLAIN")));
      expect(server.state.logins - before).toBe(1);
    });

    test("one login serves until its token is about to expire, or is taken back", async () => {
      const secrets = openSecrets(store().env);
      const logins = async () => {
        const before = server.state.logins;
        expect((await secrets.fetch("infisical://PLAIN")).value).toBe(VALUES.plain);
        return server.state.logins - before;
      };
      expect([await logins(), await logins()]).toEqual([1, 0]);
      server.revoke();
      expect([await logins(), await logins()]).toEqual([1, 0]);
      server.revoke();
      server.state.expiresIn = 20;
      expect([await logins(), await logins(), await logins()]).toEqual([1, 1, 1]);
    });
  },
);
