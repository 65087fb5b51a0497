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
  "CERVER_ANYTHING",
  "cerver_lower",
])("%s is never handed out", async (name) => {
  await expect(openSecrets(env).fetch(name)).rejects.toMatchObject({ code: "secret_refused" });
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
