import { expect, test } from "vitest";
import { hostEnvironment, looksSecret, runEnvironment } from "./environment.js";

test.each([
  "CERVER_API_TOKEN",
  "INFISICAL_ENVIRONMENT",
  "GITHUB_TOKEN",
  "NPM_TOKEN",
  "OPENAI_API_KEY",
  "STRIPE_SECRET",
  "DB_PASSWORD",
  "PGPASSWORD",
  "PASS",
  "MY_PASSPHRASE",
  "AWS_ACCESS_KEY_ID",
  "SSH_AUTH_SOCK",
  "DATABASE_URL",
  "REDIS_URL",
  "SESSION_COOKIE",
  "GOOGLE_APPLICATION_CREDENTIALS",
  "SENTRY_DSN",
  "HTTP_AUTHORIZATION",
  "ENCRYPTION_KEY",
  "apikey",
])("%s is kept from runs", (name) => {
  expect(looksSecret(name)).toBe(true);
});

test.each([
  "PATH",
  "HOME",
  "LANG",
  "TERM",
  "NODE_ENV",
  "KEYBOARD",
  "MONKEY",
  "AUTHOR",
  "COMPASS",
  "BYPASS_MODE",
  "TZ",
  "EDITOR",
])("%s reaches runs", (name) => {
  expect(looksSecret(name)).toBe(false);
});

test("an allowed name passes whatever it looks like", () => {
  expect(hostEnvironment({ NPM_TOKEN: "n", GITHUB_TOKEN: "g", HOME: "/h" }, ["NPM_TOKEN"])).toEqual({
    NPM_TOKEN: "n",
    HOME: "/h",
  });
});

test("the run's own variables win over the session's, and those over the host's; marks win always", () => {
  expect(
    runEnvironment(
      { A: "host", B: "host", C: "host" },
      { B: "session", C: "session" },
      { C: "run", M: "run" },
      { M: "mark" },
    ),
  ).toEqual({ A: "host", B: "session", C: "run", M: "mark" });
});
