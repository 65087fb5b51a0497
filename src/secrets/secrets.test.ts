import { expect, test } from "vitest";
import { allowList } from "./allow-list.js";
import { splitSecretReference } from "./secret-reference.js";
import { openSecrets } from "./secrets.js";

test.each([
  ["STRIPE_KEY", undefined, "STRIPE_KEY"],
  ["secret://STRIPE_KEY", undefined, "STRIPE_KEY"],
  ["secret://infisical/STRIPE_KEY", "infisical", "STRIPE_KEY"],
  ["env:STRIPE_KEY", "env", "STRIPE_KEY"],
  ["exec:ci/stripe", "exec", "ci/stripe"],
  ["op://ci/stripe/key", "1password", "ci/stripe/key"],
  ["aws-sm://prod/db#password", "aws", "prod/db#password"],
  ["gcp-sm://acme/db/3", "gcp", "acme/db/3"],
  ["https://example.com", undefined, "https://example.com"],
])("%s", (text, backend, name) => {
  expect(splitSecretReference(text)).toEqual({ backend, name });
});

test.each([
  [undefined, "ANY", true],
  ["*", "exec:ANY", true],
  ["", "ANY", false],
  ["A, B", "B", true],
  ["A,B", "BB", false],
  ["STRIPE_*", "STRIPE_KEY", true],
  ["STRIPE_*", "secret://env/STRIPE_KEY", true],
  ["STRIPE_*", "exec:STRIPE_KEY", false],
  ["op://ci/*", "op://ci/stripe/key", true],
  ["op://ci/*", "op://live/stripe/key", false],
])("with %j on the list, %s is allowed: %j", (list, text, allowed) => {
  expect(allowList(list, "env")(splitSecretReference(text))).toBe(allowed);
});

test("a reference reaches its backend whatever the default is", async () => {
  const secrets = openSecrets({ CERVER_SECRETS_BACKEND: "exec", KEY: "v" });
  expect(await secrets.fetch("secret://env/KEY")).toEqual({ name: "KEY", value: "v", source: "env" });
});

test.each(["secret://vaultx/KEY", "secret://constructor/KEY"])(
  "%s has no backend here, and that is said",
  async (text) => {
    await expect(openSecrets({}).fetch(text)).rejects.toMatchObject({
      code: "unsupported",
      hint: "Use one of: env, infisical, 1password, aws, gcp, exec.",
    });
  },
);

test("a value of more than 64 KiB and a name of more than 1,024 characters are refused", async () => {
  await expect(openSecrets({ BIG: "x".repeat(65_537) }).fetch("BIG")).rejects.toMatchObject({
    code: "too_large",
  });
  await expect(openSecrets({}).fetch("X".repeat(1025))).rejects.toMatchObject({ code: "invalid_request" });
});
