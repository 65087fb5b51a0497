import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Home, newHome } from "../run-cerver.js";
import { startAwsServer } from "./aws-server.js";
import { startInfisicalServer } from "./infisical-server.js";

const CANARY = "canary-4d5e6f7a";
const VALUE = `value-${CANARY}`;
let home: Home;
let infisical: Awaited<ReturnType<typeof startInfisicalServer>>;
let aws: Awaited<ReturnType<typeof startAwsServer>>;
let seedEnv: Record<string, string>;
let awsEnv: Record<string, string>;

beforeAll(async () => {
  home = await newHome();
  infisical = await startInfisicalServer({
    clientId: "client-1",
    clientSecret: `secret-${CANARY}`,
    tokens: [`st.${CANARY}`],
    canary: CANARY,
    values: { "proj-1 prod / BUFFER_API_KEY": VALUE },
  });
  aws = await startAwsServer({
    keyId: "AKIATEST",
    secretKey: `key-${CANARY}`,
    canary: CANARY,
    values: { "prod/db": { SecretString: JSON.stringify({ password: VALUE }) } },
  });
  seedEnv = {
    CERVER_SECRETS_BACKEND: "infisical",
    INFISICAL_TOKEN: `st.${CANARY}`,
    INFISICAL_PROJECT_ID: "proj-1",
    INFISICAL_ENVIRONMENT: "prod",
    INFISICAL_SITE_URL: infisical.url,
  };
  awsEnv = {
    AWS_ENDPOINT_URL: aws.url,
    AWS_REGION: "eu-west-1",
    AWS_ACCESS_KEY_ID: "AKIATEST",
    AWS_SECRET_ACCESS_KEY: `key-${CANARY}`,
  };
});
afterAll(async () => {
  await home.remove();
  await infisical.close();
  await aws.close();
});

/** The built program: its libraries are those of the bundle. */
const check = async (args: string[], env: Record<string, string>) => {
  const done = await home.run(["secrets", "check", ...args], { env });
  expect(done.stdout + done.stderr).not.toContain(CANARY);
  return done;
};

describe("cerver secrets check", () => {
  test("says how the backend is set up, that it answers, and what may be handed out; for people", async () => {
    const { code, stdout, stderr } = await check(["BUFFER_API_KEY"], {
      ...seedEnv,
      CERVER_SECRETS_ALLOW: "BUFFER_*",
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.replaceAll(infisical.url, "URL").replace(/ +$/gm, "")).toMatchInlineSnapshot(`
      "BACKEND              STATE  SET UP AS
      infisical (default)  ready  service token, project proj-1, environment prod (INFISICAL_ENVIRONMENT), URL

      SECRET          BACKEND    STATE
      BUFFER_API_KEY  infisical  found

      Handed out: BUFFER_*.
      "
    `);
  });

  test("finds what is there and says why another is not; for programs", async () => {
    const { code, stdout } = await check(
      ["BUFFER_API_KEY", "aws-sm://prod/db#password", "NOPE", "env:X", "--json"],
      {
        ...seedEnv,
        ...awsEnv,
        CERVER_SECRETS_ALLOW: "*",
      },
    );
    expect(code).toBe(1);
    const { backends, secrets, allow } = JSON.parse(stdout);
    expect(allow).toEqual(["*"]);
    expect(backends.map(({ backend, state }: Record<string, string>) => [backend, state])).toEqual([
      ["infisical", "ready"],
      ["aws", "ready"],
      ["env", "ready"],
    ]);
    expect(secrets.map(({ name, state, code }: Record<string, string>) => [name, state, code])).toEqual([
      ["BUFFER_API_KEY", "found", undefined],
      ["aws-sm://prod/db#password", "found", undefined],
      ["NOPE", "failed", "secret_not_found"],
      ["env:X", "failed", "secret_not_found"],
    ]);
  });

  test.each([
    ["a token that is not taken", { INFISICAL_TOKEN: "st.another" }, "failed", "secret_expired"],
    [
      "an address without anybody",
      { INFISICAL_SITE_URL: "http://127.0.0.1:1" },
      "failed",
      "secret_unreachable",
    ],
    ["a project that is not set", { INFISICAL_PROJECT_ID: "" }, "not_set_up", "unsupported"],
  ])("%s is told, with exit code 1", async (_, env, state, word) => {
    const { code, stdout } = await check(["--json"], { ...seedEnv, ...env });
    expect(code).toBe(1);
    expect(JSON.parse(stdout).backends[0]).toMatchObject({ backend: "infisical", state, code: word });
  });

  test("--all asks every backend, and fails only for the one in use", async () => {
    const { code, stdout } = await check(["--all", "--json"], {
      ...awsEnv,
      PATH: "/nowhere",
      METADATA_SERVER_DETECTION: "none",
    });
    expect(code).toBe(0);
    const { backends } = JSON.parse(stdout);
    const states = backends.map(({ backend, state }: Record<string, string>) => [backend, state]);
    expect(Object.fromEntries(states)).toEqual({
      env: "ready",
      infisical: "not_set_up",
      "1password": "not_set_up",
      aws: "ready",
      gcp: "not_set_up",
      exec: "not_set_up",
    });
  });
});

test("secret_fetch of the built cerver mcp, with the seed's configuration of Infisical", async () => {
  const mcp = home.start(["mcp"], seedEnv);
  const send = (message: object) =>
    mcp.child.stdin!.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  send({
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
  });
  await mcp.prints(/"id":1/);
  send({ method: "notifications/initialized" });
  send({
    id: 2,
    method: "tools/call",
    params: { name: "secret_fetch", arguments: { name: "BUFFER_API_KEY" } },
  });
  await mcp.prints(/"id":2/);
  const answer = mcp
    .stdout()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .find(({ id }) => id === 2);
  expect(answer.result.structuredContent).toEqual({
    name: "BUFFER_API_KEY",
    value: VALUE,
    source: "infisical",
  });
  mcp.child.stdin!.end();
  await mcp.exited;
  expect(mcp.stderr()).not.toContain(CANARY);
});
