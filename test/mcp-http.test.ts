import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernTransport,
} from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
const clients: { close(): Promise<void> }[] = [];
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await cerver.stop();
});

const address = () => new URL(`${cerver.gateway.url}/mcp`);
const withToken = (token: string) => ({ requestInit: { headers: { authorization: `Bearer ${token}` } } });

/** The client of today's hosts: it shakes hands. */
async function connect(token = cerver.token) {
  const client = new Client({ name: "test", version: "1" });
  const transport = new StreamableHTTPClientTransport(address(), withToken(token));
  await client.connect(transport as never);
  clients.push(client);
  return { client, transport };
}

/** The client of the stateless revision. */
async function connectModern(token = cerver.token) {
  const client = new ModernClient(
    { name: "test", version: "2" },
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  );
  await client.connect(new ModernTransport(address(), withToken(token)));
  clients.push(client);
  return client;
}

const post = (body: unknown, headers: Record<string, string> = {}) =>
  fetch(address(), {
    method: "POST",
    headers: {
      authorization: `Bearer ${cerver.token}`,
      accept: "application/json, text/event-stream",
      "content-type": "application/json",
      ...headers,
    },
    body: JSON.stringify(body),
  });

const LIST = { jsonrpc: "2.0", id: 1, method: "tools/list", params: {} };
const ALL = [
  "cerver_session_list",
  "cerver_session_search",
  "cerver_session_peek",
  "cerver_session_export",
  "cerver_session_create",
  "cerver_run",
  "cerver_run_wait",
  "cerver_run_cancel",
  "cerver_session_append",
  "cerver_computes",
];

describe.each(["2025-11-25", "2026-07-28"])("the gateway's /mcp, revision %s", (revision) => {
  const open = async (token?: string) =>
    revision === "2025-11-25"
      ? ((await connect(token)).client as unknown as ModernClient)
      : connectModern(token);
  /** The first major takes a schema between the two. */
  const callWith = (client: ModernClient, params: object, options: object) =>
    revision === "2025-11-25"
      ? (client as unknown as Client).callTool(params as never, undefined, options)
      : client.callTool(params as never, options);
  const call = async (client: ModernClient, name: string, args: Record<string, unknown>) =>
    (await client.callTool({ name, arguments: args })) as any;

  test("shows what the token may do, and nothing of the gateway's own secrets", async () => {
    const names = async (client: ModernClient) => (await client.listTools()).tools.map(({ name }) => name);
    expect(await names(await open())).toEqual(ALL);
    const readOnly = await cerver.gateway.createToken({ label: "reader", scopes: ["read"] });
    expect(await names(await open(readOnly))).toEqual(ALL.slice(0, 4));
  });

  test("creates a session, runs in it, and tells how it ended", async () => {
    const client = await open();
    const { structuredContent: session } = await call(client, "cerver_session_create", { name: "over http" });
    const ran = await call(client, "cerver_run", {
      session_id: session.session_id,
      code: "echo out; echo err >&2; exit 3",
    });
    expect(ran.structuredContent).toMatchObject({
      status: "failed",
      exit_code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(ran.content[0].text).toMatch(/^run_\w+: failed, exit code 3, \d+ ms\n--- stdout\nout\n/);
    const peek = await call(client, "cerver_session_peek", { session_id: session.session_id });
    expect(peek.structuredContent.entries).toHaveLength(2);
  });

  test("answers before a long run is over, waits for it with another tool, and ends it with a receipt", async () => {
    const client = await open();
    const id = await cerver.session();
    const begun = await call(client, "cerver_run", {
      session_id: id,
      code: "echo begun; sleep 600",
      wait: 1,
    });
    expect(begun.structuredContent).toMatchObject({ status: "running", exit_code: null, stdout: "begun\n" });
    const { run_id } = begun.structuredContent;
    const waited = await call(client, "cerver_run_wait", { run_id, wait: 0 });
    expect(waited.structuredContent).toMatchObject({ run_id, status: "running", stdout: "begun\n" });
    const ended = await call(client, "cerver_run_cancel", { run_id });
    expect(ended.structuredContent).toMatchObject({ run_id, status: "cancelled", alive: [] });
    expect(ended.structuredContent.found.length).toBeGreaterThan(0);
    expect((await call(client, "cerver_run_wait", { run_id })).structuredContent.status).toBe("cancelled");
  });

  test("ends the run's whole tree when the call is cancelled", async () => {
    const client = await open();
    const id = await cerver.session();
    const abort = new AbortController();
    const called = callWith(
      client,
      { name: "cerver_run", arguments: { session_id: id, code: "setsid sleep 601 & sleep 602" } },
      { signal: abort.signal },
    );
    called.catch(() => {});
    const running = async () => (await cerver.client.runs(id)).runs[0];
    await expect.poll(async () => (await running())?.status, { timeout: 10_000 }).toBe("running");
    abort.abort("enough");
    await expect(called).rejects.toThrow();
    await expect.poll(async () => (await running())?.status, { timeout: 10_000 }).toBe("cancelled");
    expect((await running())!.receipt?.alive ?? []).toEqual([]);
  });

  test("tells how a run goes on, to whom it asked for that", async () => {
    const client = await open();
    const id = await cerver.session();
    const heard: unknown[] = [];
    await callWith(
      client,
      { name: "cerver_run", arguments: { session_id: id, code: "echo working; sleep 6", wait: 7 } },
      { onprogress: (progress: unknown) => heard.push(progress) },
    );
    expect(heard).toEqual([{ progress: 5, message: "5 s: working" }]);
  }, 20_000);

  test("has transcripts and output as resources, and completes their ids", async () => {
    const client = await open();
    const id = await cerver.session({ session_name: "resources" });
    const { run_id } = await cerver.client.run(id, { code: "echo resourceful" });
    const transcript = await client.readResource({ uri: `cerver://session/${id}/transcript` });
    expect((transcript.contents[0] as any).text).toContain("# resources");
    const output = await client.readResource({ uri: `cerver://run/${run_id}/output` });
    expect((output.contents[0] as any).text).toBe("resourceful\n");
    const { completion } = await client.complete({
      ref: { type: "ref/resource", uri: "cerver://run/{id}/output" },
      argument: { name: "id", value: run_id.slice(0, 8) },
    });
    expect(completion.values).toContain(run_id);
  });

  test("picks up where the last session on a repository stopped", async () => {
    const id = await cerver.session({
      compute: null,
      metadata: { repository: `github.com/acme/${revision}` },
    });
    await cerver.client.appendTranscript(id, [{ role: "assistant", content: "The parser is half done." }]);
    const { messages } = await (await open()).getPrompt({
      name: "pick_up",
      arguments: { repository: `github.com/acme/${revision}` },
    });
    const { text } = messages[0]!.content as { text: string };
    expect(text).toContain(id);
    expect(text).toContain("The parser is half done.");
  });

  test("says what is wrong and what to do next", async () => {
    const client = await open();
    const missing = await call(client, "cerver_run", { session_id: "sess_nothere", code: "true" });
    expect(missing).toMatchObject({
      isError: true,
      content: [{ text: expect.stringMatching(/\nNext step: /) }],
    });
  });
});

test("an endpoint that could not be opened is opened by the next who asks, and holds up no stop", async () => {
  let tries = 0;
  const other = await startCerver({
    relay: false,
    deps: {
      mcp: async () => {
        if (tries++ < 2) throw new Error("not now");
        return { fetch: async () => new Response("served"), close: async () => {} };
      },
    },
  });
  const ask = async () =>
    (await fetch(`${other.gateway.url}/mcp`, { headers: { authorization: `Bearer ${other.token}` } })).status;
  expect([await ask(), await ask(), await ask()]).toEqual([500, 500, 200]);
  await other.stop();
});

test("a connection that the gateway ends takes no run along", async () => {
  const { openMcpEndpoint } = await import("../src/cli/mcp-endpoint.js");
  const endpoint = await openMcpEndpoint({ gatewayUrl: cerver.gateway.url });
  const caller = { id: "one", token: cerver.token, scopes: new Set(["run"] as const) };
  const send = (message: object, headers: Record<string, string> = {}) =>
    endpoint.fetch(
      new Request("http://127.0.0.1/mcp", {
        method: "POST",
        headers: {
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
          ...headers,
        },
        body: JSON.stringify({ jsonrpc: "2.0", ...message }),
      }),
      caller,
    );
  const hello = {
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
  };
  const id = (await send(hello)).headers.get("mcp-session-id")!;
  const session_id = await cerver.session();
  const running = await send(
    {
      id: 2,
      method: "tools/call",
      params: { name: "cerver_run", arguments: { session_id, code: "sleep 605" } },
    },
    { "mcp-session-id": id, "mcp-protocol-version": "2025-11-25" },
  );
  const newest = async () => (await cerver.client.runs(session_id)).runs[0];
  await expect.poll(async () => (await newest())?.status, { timeout: 10_000 }).toBe("running");
  // Its caller opens more connections than one may have: the one in use stays.
  for (let i = 0; i < 101; i++) await (await send(hello)).body?.cancel();
  expect((await newest())!.status).toBe("running");
  await endpoint.close();
  await running.body?.cancel();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { run_id, status } = (await newest())!;
  expect(status).toBe("running");
  await cerver.client.cancelRun(session_id, run_id);
}, 30_000);

describe("the doors of /mcp", () => {
  test("a token is needed, and the answer says where one is to be had", async () => {
    for (const headers of [{ authorization: "Bearer ck_wrong" }, { authorization: "" }]) {
      const response = await post(LIST, headers);
      expect(response.status).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe(
        `Bearer resource_metadata="${cerver.gateway.url}/.well-known/oauth-protected-resource/mcp"`,
      );
    }
  });

  test("pages of others, and names that are not the gateway's, are refused", async () => {
    expect((await post(LIST, { origin: "https://evil.example" })).status).toBe(403);
    const { request } = await import("node:http");
    const status = await new Promise((resolve) => {
      request(address(), {
        method: "POST",
        headers: { host: "evil.example", authorization: `Bearer ${cerver.token}` },
      })
        .on("response", (response) => resolve(response.resume().statusCode))
        .end("{}");
    });
    expect(status).toBe(403);
  });

  test("a connection is its own caller's, and over when it was ended", async () => {
    const { client, transport } = await connect();
    const id = transport.sessionId!;
    const other = await cerver.gateway.createToken({ label: "other", scopes: ["run"] });
    const headers = { "mcp-session-id": id, "mcp-protocol-version": "2025-11-25" };
    expect((await post(LIST, { ...headers, authorization: `Bearer ${other}` })).status).toBe(404);
    expect((await client.listTools()).tools).toHaveLength(ALL.length);
    await transport.terminateSession();
    expect((await post(LIST, headers)).status).toBe(404);
  });

  test("an answer whose stream broke is there for who comes back, and for nobody else", async () => {
    const { transport } = await connect();
    const session_id = await cerver.session();
    const headers = { "mcp-session-id": transport.sessionId!, "mcp-protocol-version": "2025-11-25" };
    const params = { name: "cerver_run", arguments: { session_id, code: "sleep 1; echo later" } };
    const reader = (await post({ ...LIST, id: 77, method: "tools/call", params }, headers)).body!.getReader();
    const first = new TextDecoder().decode((await reader.read()).value);
    const lastEventId = /^id: (\S+)$/m.exec(first)![1]!;
    expect(first).toMatch(/^retry: \d+$/m);
    await reader.cancel();

    const resume = (more: Record<string, string>) =>
      fetch(address(), {
        headers: {
          authorization: `Bearer ${cerver.token}`,
          accept: "text/event-stream",
          "last-event-id": lastEventId,
          ...headers,
          ...more,
        },
      });
    const stranger = await connect();
    expect((await resume({ "mcp-session-id": stranger.transport.sessionId! })).status).toBe(400);
    const answer = await (await resume({})).text();
    expect(answer).toContain('"id":77');
    expect(answer).toContain("later\\n");
  });

  test("a connection that another gateway began is served all the same", async () => {
    const response = await post(LIST, {
      "mcp-session-id": "b7a3f3f0-0000-4000-8000-000000000000",
      "mcp-protocol-version": "2025-11-25",
    });
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("cerver_session_peek");
  });

  test("a body that is too large, and one that is no JSON, are refused", async () => {
    expect((await post({ ...LIST, params: { x: "x".repeat(5_000_000) } })).status).toBe(413);
    const bad = await fetch(address(), {
      method: "POST",
      headers: {
        authorization: `Bearer ${cerver.token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: "{",
    });
    expect(bad.status).toBe(400);
  });
});
