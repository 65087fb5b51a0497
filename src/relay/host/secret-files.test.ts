import { expect, test } from "vitest";
import { looksSecret } from "./secret-files.js";

const nothing = async () => "";

test.each([
  ".env",
  ".env.local",
  "app/.env.production",
  ".envrc",
  ".dev.vars",
  "server.pem",
  "tls/private.KEY",
  "cert.p12",
  "id_rsa",
  "keys/id_ed25519",
  "credentials",
  "credentials.json",
  "secrets.yml",
  "client_secret.json",
  "service-account-prod.json",
  ".aws/config",
  "home/.ssh/known_hosts",
  ".netrc",
  "prod.tfvars",
])("%s looks like a secret", async (path) => {
  expect(await looksSecret(path, nothing)).toBe(true);
});

test.each([
  ".env.example",
  "environment.ts",
  "id_rsa.pub",
  "id_token.js",
  "src/credentials.ts",
  "credentials.md",
  "monkey",
  "node_modules/x/test/server.pem",
  "lib/python3/site-packages/certifi/cacert.pem",
  "dist/main.js",
  "awsome/config",
])("%s does not", async (path) => {
  expect(await looksSecret(path, nothing)).toBe(false);
});

test(".npmrc is one when it holds a token", async () => {
  expect(await looksSecret(".npmrc", async () => "registry=https://registry.npmjs.org/\n")).toBe(false);
  expect(await looksSecret(".npmrc", async () => "//registry.npmjs.org/:_authToken=npm_x\n")).toBe(true);
});
