import { expect, test } from "vitest";
import { openSecrets } from "./secrets.js";

const env = {
  BUFFER_API_KEY: "b-123",
  EMPTY: "",
  CERVER_API_TOKEN: "ck_x",
  INFISICAL_TOKEN: "st.x",
  cerver_lower: "x",
};

test("a secret comes with its name and source", async () => {
  expect(await openSecrets(env).fetch("BUFFER_API_KEY")).toEqual({
    name: "BUFFER_API_KEY",
    value: "b-123",
    source: "env",
  });
});

test.each([
  "CERVER_API_TOKEN",
  "INFISICAL_TOKEN",
  "OP_SERVICE_ACCOUNT_TOKEN",
  "AWS_CONTAINER_AUTHORIZATION_TOKEN",
  "CERVER_ANYTHING",
  "cerver_lower",
])("%s is never handed out", async (name) => {
  await expect(openSecrets(env).fetch(name)).rejects.toMatchObject({ code: "secret_refused" });
});

test("what opens the store that a program reads is the program's alone", async () => {
  const secrets = openSecrets({
    CERVER_SECRETS_EXEC_ENV: "VAULT_ADDR, STORE_*",
    VAULT_ADDR: "https://vault",
    STORE_TOKEN: "t",
    OTHER: "o",
  });
  for (const name of ["VAULT_ADDR", "STORE_TOKEN"])
    await expect(secrets.fetch(name)).rejects.toMatchObject({ code: "secret_refused" });
  expect((await secrets.fetch("OTHER")).value).toBe("o");
});

test.each(["NOT_THERE", "EMPTY", "toString", "__proto__"])(
  "%s is not there, and the answer says where to put it",
  async (name) => {
    await expect(openSecrets({ ...env }).fetch(name)).rejects.toMatchObject({
      code: "secret_not_found",
      hint: expect.stringContaining("MCP client"),
    });
  },
);

test.each(["", "a b", "$(id)", "../x"])("%j is no name", async (name) => {
  await expect(openSecrets(env).fetch(name)).rejects.toMatchObject({ code: "invalid_request" });
});

test("an unknown backend is named, with those there are", () => {
  expect(() => openSecrets({ CERVER_SECRETS_BACKEND: "vaultx" })).toThrowError('"vaultx"');
});
