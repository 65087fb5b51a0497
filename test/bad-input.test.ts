import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { silentLogger } from "../src/util/logger.js";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
let session: string;
beforeAll(async () => {
  cerver = await startCerver();
  session = await cerver.session();
});
afterAll(() => cerver.stop());

/** What comes back: the status, the sentence, the code. Every answer has a request id. */
async function said(response: Promise<Response>) {
  const answer = await response;
  const body = (await answer.json()) as any;
  expect(body.request_id).toBe(answer.headers.get("x-request-id"));
  return { status: answer.status, code: body.code, error: body.error };
}
const post = (path: string, body: unknown, headers?: Record<string, string>) =>
  said(cerver.call("POST", path, body, headers));

describe("who asks", () => {
  test.each([
    ["no token", {}, "This needs a token, in the header `Authorization: Bearer ck_…`."],
    [
      "a wrong token",
      { authorization: "Bearer ck_wrong" },
      "The token in the Authorization header is wrong, expired or revoked.",
    ],
    [
      "another scheme",
      { authorization: "Basic eDp5" },
      "The token in the Authorization header is wrong, expired or revoked.",
    ],
  ])("%s is 401, with a sentence that says where to get one", async (_, headers, error) => {
    for (const path of ["/v2/sessions", "/gateway/providers", "/v2/computes", "/v2/auth/whoami"]) {
      const response = await fetch(cerver.gateway.url + path, { headers: headers as Record<string, string> });
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      expect(await response.json()).toMatchObject({
        error,
        code: "unauthenticated",
        hint: expect.stringContaining("cerver login"),
      });
    }
  });

  test("a token in the query is no token", async () => {
    expect((await fetch(`${cerver.gateway.url}/v2/sessions?token=${cerver.token}`)).status).toBe(401);
  });

  test("health and the page need none", async () => {
    expect(await (await fetch(`${cerver.gateway.url}/health`)).json()).toMatchObject({ status: "ok" });
    expect((await fetch(`${cerver.gateway.url}/`)).status).toBe(200);
  });

  test("a token does what its scope says and no more", async () => {
    const reader = await cerver.clientWith(["read"]);
    expect((await reader.session(session)).sessionId).toBe(session);
    await expect(reader.run(session, { code: "true" })).rejects.toMatchObject({
      code: "forbidden",
      message: "This token has the scope read, and this needs run.",
    });
    const runner = await cerver.clientWith(["run"]);
    expect((await runner.run(session, { code: "true" })).status).toBe("succeeded");
    await expect(runner.createKey({ scopes: ["admin"] })).rejects.toMatchObject({ code: "forbidden" });
    const relay = await cerver.clientWith(["relay"]);
    await expect(relay.sessions()).rejects.toMatchObject({ code: "forbidden" });
  });

  test("a key is shown once, listed masked, and revoked at once", async () => {
    const { key } = await cerver.client.createKey({ label: "ci", scopes: ["read"] });
    const { keys } = await cerver.client.keys();
    const listed = keys.find(({ label }) => label === "ci")!;
    expect(JSON.stringify(keys)).not.toContain(key);
    expect(key.startsWith(listed.key_masked.replace("…", ""))).toBe(true);
    const whoami = () =>
      fetch(`${cerver.gateway.url}/v2/auth/whoami`, { headers: { authorization: `Bearer ${key}` } });
    expect((await whoami()).status).toBe(200);
    await cerver.client.revokeKey(key);
    expect((await whoami()).status).toBe(401);
  });

  test("an expired key is refused", async () => {
    const { key } = await cerver.client.createKey({ label: "short", scopes: ["read"], expires_in: 1 });
    const whoami = async () =>
      (await fetch(`${cerver.gateway.url}/v2/auth/whoami`, { headers: { authorization: `Bearer ${key}` } }))
        .status;
    expect(await whoami()).toBe(200);
    await expect.poll(whoami, { timeout: 5_000 }).toBe(401);
  });
});

describe("what is asked", () => {
  test.each([
    [
      "JSON that does not parse",
      '{"code": ',
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^The body is not JSON: /) },
    ],
    [
      "no code",
      {},
      { status: 400, code: "invalid_request", error: "code: expected string, received undefined." },
    ],
    [
      "a field of the wrong type",
      { code: "true", timeout: "5" },
      { status: 400, code: "invalid_request", error: "timeout: expected number, received string." },
    ],
    [
      "an unknown field",
      { code: "true", timeuot: 5 },
      { status: 400, code: "invalid_request", error: 'unknown field "timeuot".' },
    ],
    [
      "code over the bound",
      { code: "x".repeat(1_000_001) },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^code: Too big/) },
    ],
    [
      "an impossible timeout",
      { code: "true", timeout: -1 },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^timeout: /) },
    ],
    [
      "a variable that is none",
      { code: "true", envs: { "A=B": "x" } },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^envs/) },
    ],
    [
      "an unknown runtime",
      { code: "true", runtime: "cobol" },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^runtime: .*shell.*node/) },
    ],
    [
      "a NUL in the code",
      { code: "echo \0" },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^code: .*NUL/) },
    ],
    [
      "a folder outside",
      { code: "true", cwd: "../../.." },
      { status: 403, code: "forbidden", error: expect.stringMatching(/^cwd: .*outside/) },
    ],
    [
      "a folder that is not there",
      { code: "true", cwd: "nowhere" },
      { status: 400, code: "invalid_request", error: expect.stringMatching(/^cwd: .*does not exist/) },
    ],
  ])("%s", async (_, body, expected) => {
    expect(await post(`/v2/sessions/${session}/run`, body)).toEqual(expected);
    expect(await post(`/v2/sessions/${session}/run/stream`, body)).toEqual(expected);
  });

  test("a body that is not JSON by its type", async () => {
    expect(
      await post(`/v2/sessions/${session}/run`, '{"code":"true"}', { "content-type": "text/plain" }),
    ).toEqual({
      status: 415,
      code: "unsupported_media_type",
      error: "The body has to be JSON.",
    });
  });

  test("a body over the bound", async () => {
    const body = JSON.stringify({ content: "x".repeat(33 * 1024 * 1024) });
    expect(await post(`/v2/sessions/${session}/input`, body)).toMatchObject({
      status: 413,
      code: "too_large",
    });
  });

  test("an unknown provider", async () => {
    expect(await post("/v2/sessions", { policy: { mode: "pinned", pinned_provider: "acme" } })).toEqual({
      status: 400,
      code: "invalid_request",
      error: 'policy.pinned_provider: there is no provider called "acme".',
    });
  });

  test("a session, a compute, an address that is not there", async () => {
    expect(await said(cerver.call("GET", "/v2/sessions/sess_x"))).toEqual({
      status: 404,
      code: "session_not_found",
      error: "Session not found: this account has no session sess_x.",
    });
    expect(await post("/v2/sessions/sess_x/run", { code: "true" })).toMatchObject({ status: 404 });
    expect(await said(cerver.call("GET", "/v2/computes/cmp_x"))).toMatchObject({
      status: 404,
      code: "compute_not_found",
    });
    expect(await said(cerver.call("GET", "/v2/nothing"))).toMatchObject({ status: 404, code: "not_found" });
  });

  test("a session that has ended", async () => {
    const own = await cerver.session();
    await cerver.client.closeSession(own);
    expect(await post(`/v2/sessions/${own}/run`, { code: "true" })).toMatchObject({
      status: 410,
      code: "session_ended",
    });
    expect(await post(`/v2/sessions/${own}/input`, { content: "x" })).toMatchObject({ status: 410 });
  });

  test("entries without content, and a status and a cursor that are none", async () => {
    expect(
      await post(`/v2/sessions/${session}/transcript`, { entries: [{ role: "user", content: "" }] }),
    ).toEqual({
      status: 400,
      code: "invalid_request",
      error: "entries.0.content: may be empty only when kind is tool_use.",
    });
    expect(await said(cerver.call("GET", "/v2/sessions?status=odd"))).toMatchObject({
      status: 400,
      error: expect.stringContaining('"odd"'),
    });
    expect(await said(cerver.call("GET", "/v2/sessions?cursor=odd"))).toMatchObject({
      status: 400,
      error: expect.stringContaining("cursor"),
    });
    expect(await said(cerver.call("GET", "/v2/sessions?limit=0"))).toMatchObject({
      status: 400,
      error: expect.stringContaining("limit"),
    });
  });

  test("another account's session is not found", async () => {
    const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
    await db
      .insertInto("accounts")
      .values({ id: "acct_other", name: "other", created_at: Date.now() })
      .execute();
    const { ApiTokens } = await import("../src/gateway/account/api-tokens.js");
    const { key } = await new ApiTokens({ db }).create("acct_other", { label: "", scopes: ["admin"] });
    await db.destroy();
    const foreign = { authorization: `Bearer ${key}` };
    expect(await said(cerver.call("GET", `/v2/sessions/${session}`, undefined, foreign))).toMatchObject({
      status: 404,
    });
    expect(await post(`/v2/sessions/${session}/run`, { code: "true" }, foreign)).toMatchObject({
      status: 404,
      code: "session_not_found",
    });
    expect(await said(cerver.call("DELETE", `/v2/sessions/${session}`, undefined, foreign))).toMatchObject({
      status: 404,
    });
    expect(
      await said(cerver.call("GET", `/v2/computes/${cerver.relay!.computeId}`, undefined, foreign)),
    ).toMatchObject({ status: 404 });
    const hijack = await cerver.call(
      "POST",
      "/v2/computes/register",
      { label: "mine", compute_id: cerver.relay!.computeId },
      foreign,
    );
    expect(((await hijack.json()) as any).compute_id).not.toBe(cerver.relay!.computeId);
  });

  test("a relay that is full says when to come again", async () => {
    const relay = await cerver.attachRelay({ name: "small", maxRuns: 1 });
    const own = await cerver.session({ target_compute_id: relay.computeId });
    const events = cerver.client.runStream(own, { code: "echo on; sleep 30" });
    await events.next();
    const response = await cerver.call("POST", `/v2/sessions/${own}/run`, { code: "true" });
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await response.json()).toMatchObject({
      code: "relay_full",
      retryable: true,
      hint: expect.stringContaining("--max-runs"),
    });
    await events.return(undefined);
    await expect
      .poll(
        async () => (await cerver.client.run(own, { code: "true" }).catch(() => ({ status: "full" }))).status,
      )
      .toBe("succeeded");
    await relay.stop();
  });
});

describe("what a gateway cannot start with", () => {
  const start = async (config: object) => {
    const gateway = await startGateway(gatewayConfig({ port: 0, ...config }, {}), { logger: silentLogger });
    await gateway.stop();
  };

  test("a port that is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as AddressInfo;
    await expect(start({ port, dataDir: join(cerver.folder, "p") })).rejects.toMatchObject({
      message: `Port ${port} on 127.0.0.1 is in use by another program.`,
    });
    other.close();
  });

  test("a data folder that cannot be written", async () => {
    const folder = await mkdtemp(join(tmpdir(), "cerver-bad-"));
    await writeFile(join(folder, "file"), "");
    await expect(start({ dataDir: join(folder, "file", "data") })).rejects.toMatchObject({
      message: expect.stringMatching(/^The database .* cannot be made there \((?:ENOTDIR|EEXIST)\)\.$/),
      hint: expect.stringContaining("--data-dir"),
    });
    await writeFile(join(folder, "cerver.db"), "this is not a database, whatever its name says".repeat(100));
    await expect(start({ dataDir: folder })).rejects.toMatchObject({
      message: expect.stringMatching(/is not a database, or it is damaged/),
    });
    await rm(folder, { recursive: true });
  });

  test("a database that a newer version has changed", async () => {
    const file = join(cerver.folder, "newer", "cerver.db");
    const db = await openDatabase(file);
    await db
      .withTables<{ kysely_migration: { name: string; timestamp: string } }>()
      .insertInto("kysely_migration")
      .values({ name: "9999-from-the-future", timestamp: new Date().toISOString() })
      .execute();
    await db.destroy();
    await expect(start({ dataDir: join(cerver.folder, "newer") })).rejects.toMatchObject({
      message: expect.stringMatching(/^A newer version of cerver has changed .*9999-from-the-future/),
      hint: expect.stringContaining("Nothing was changed"),
    });
  });

  test("no tokens on an address that others reach", async () => {
    await expect(start({ noAuth: true, host: "0.0.0.0", dataDir: cerver.folder })).rejects.toMatchObject({
      message: expect.stringContaining("cannot listen on 0.0.0.0"),
    });
  });
});

describe("a gateway without tokens", () => {
  test("serves the seed's bare calls to this machine, and nobody's web page", async () => {
    const open = await startCerver({ gateway: { noAuth: true } });
    const { url, port } = open.gateway;
    const call = (path: string, init: RequestInit & { headers?: Record<string, string> } = {}) =>
      fetch(url + path, init);
    try {
      expect((await call("/gateway/providers")).status).toBe(200);
      const body = JSON.stringify({ task: "x" });
      const headers = { "content-type": "application/json" };
      expect((await call("/gateway/sessions", { method: "POST", body, headers })).status).toBe(201);
      expect(
        (await call("/gateway/sessions", { method: "POST", body, headers: { "content-type": "text/plain" } }))
          .status,
      ).toBe(415);
      expect(
        (
          await call("/gateway/sessions", {
            method: "POST",
            body,
            headers: { ...headers, origin: "https://evil.example" },
          })
        ).status,
      ).toBe(403);
      const { request } = await import("node:http");
      const rebound = await new Promise<number | undefined>((resolve) => {
        request(
          { port, host: "127.0.0.1", path: "/gateway/sessions", headers: { host: "evil.example" } },
          (response) => {
            response.resume();
            resolve(response.statusCode);
          },
        ).end();
      });
      expect(rebound).toBe(403);
    } finally {
      await open.stop();
    }
  });
});
