import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cerver, startCerver } from "../harness.js";
import { startInfisicalServer } from "./infisical-server.js";

const VALUE = "infisical-9f8e7d6c5b4a";
let cerver: Cerver;
let infisical: Awaited<ReturnType<typeof startInfisicalServer>>;
let session: string;

beforeAll(async () => {
  infisical = await startInfisicalServer({
    clientId: "client-1",
    clientSecret: "client-secret-1",
    tokens: [],
    canary: "canary",
    values: { "proj-1 prod / STRIPE_KEY": VALUE },
  });
  cerver = await startCerver({
    env: {
      CERVER_SECRETS_BACKEND: "infisical",
      INFISICAL_UNIVERSAL_AUTH_CLIENT_ID: "client-1",
      INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET: "client-secret-1",
      INFISICAL_PROJECT_ID: "proj-1",
      INFISICAL_SITE_URL: infisical.url,
    },
  });
  session = await cerver.session();
});
afterAll(async () => {
  await cerver.stop();
  await infisical.close();
});

test("runs on a relay are given secrets of Infisical, by name and by reference, after one login for all of them", async () => {
  const code = `[ "$STRIPE_KEY" = ${VALUE} ] && echo the same; echo $STRIPE_KEY`;
  for (const given of [
    { secrets: ["STRIPE_KEY"] },
    { envs: { STRIPE_KEY: "secret://infisical/STRIPE_KEY" } },
  ])
    expect((await cerver.client.run(session, { code, ...given })).result.stdout).toBe(
      "the same\n[redacted:STRIPE_KEY]\n",
    );
  expect(infisical.state.logins).toBe(1);
});

test("a run whose secret Infisical does not have is not started, and says so", async () => {
  const before = (await cerver.client.runs(session)).runs.length;
  await expect(cerver.client.run(session, { code: "true", secrets: ["GONE"] })).rejects.toMatchObject({
    code: "secret_not_found",
    message: "There is no secret GONE at Infisical.",
  });
  expect((await cerver.client.runs(session)).runs).toHaveLength(before);
});
