import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { GatewayClient } from "../src/client/gateway-client.js";
import { stayConnected } from "../src/relay/connection.js";
import { silentLogger } from "../src/util/logger.js";
import { openCompute } from "./compute.js";
import { type Cerver, startCerver } from "./harness.js";

/** What a public relay registers with and answers, written down by hand from the public contract (sections 3.1 and 4). */
interface Recording {
  register: Record<string, unknown>;
  exchanges: { expect: { method: string; path: string }; answer: { status: number; body: unknown } }[];
}

let cerver: Cerver;
let recording: Recording;
beforeAll(async () => {
  cerver = await startCerver({ relay: false });
  recording = JSON.parse(await readFile(join(import.meta.dirname, "fixtures", "public-relay.json"), "utf8"));
});
afterAll(() => cerver.stop());

describe("a public relay at our gateway, which speaks only JSON frames", () => {
  test("registers, connects with its token in the query, runs, streams and ends", async () => {
    const registered = (await (
      await cerver.call("POST", "/v2/computes/register", recording.register)
    ).json()) as any;
    expect(registered.compute_id).toBe(recording.register.compute_id);
    const url = `${cerver.gateway.url.replace("http", "ws")}/v2/connect/ws?compute_id=${registered.compute_id}&token=${cerver.token}`;
    const socket = new WebSocket(url);
    const seen: any[] = [];
    const expected = [...recording.exchanges];
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data));
      seen.push(frame);
      if (frame.type !== "request") return;
      const exchange = expected.shift()!;
      expect({ method: frame.method, path: frame.path }).toEqual(exchange.expect);
      socket.send(
        JSON.stringify({ type: "response", request_id: frame.request_id, headers: {}, ...exchange.answer }),
      );
    });
    await new Promise((resolve) => socket.once("message", resolve));
    expect(seen[0]).toMatchObject({ type: "connected" });
    expect(await cerver.client.computes()).toMatchObject([
      { compute_id: registered.compute_id, provider: "p69", label: "Old MacBook", status: "ready" },
    ]);

    const { session_id, provider } = await cerver.client.createSession({ task: "x" });
    expect(provider).toBe("p69");
    expect(await cerver.client.run(session_id, { code: "echo hello from cerver" })).toMatchObject({
      status: "succeeded",
      result: { stdout: "hello from cerver\n", stderr: "", exit_code: 0 },
      stdout_bytes: 18,
    });
    expect(seen.at(-1)).toMatchObject({
      headers: { "content-type": "application/json" },
      body: { code: "echo hello from cerver", timeout: 30 },
    });
    const events = [];
    for await (const event of cerver.client.runStream(session_id, { code: "exit 3" })) events.push(event);
    expect(events).toMatchObject([
      { type: "start" },
      { type: "stdout", data: "out\n" },
      { type: "stderr", data: "err\n" },
      { type: "exit", exit_code: 3, status: "failed" },
    ]);
    await expect(cerver.client.run(session_id, { code: "true" })).rejects.toMatchObject({
      message: "Agent not found",
    });
    await cerver.client.closeSession(session_id);
    expect(expected).toEqual([]);

    // Nonsense in a frame is left out; the link stays.
    for (const nonsense of [
      "not json",
      "{}",
      '{"type":"response"}',
      '{"type":"response","request_id":"404","status":200}',
    ]) {
      socket.send(nonsense);
    }
    socket.send('{"type":"ping"}');
    await expect.poll(() => seen.some((frame) => frame.type === "pong")).toBe(true);
    socket.close();
    await expect.poll(async () => (await cerver.client.computes())[0]!.status).toBe("offline");
  });

  test("a current relay's token is not read from the query", async () => {
    const computes = await cerver.client.computes();
    const url = `${cerver.gateway.url.replace("http", "ws")}/v2/connect/ws?compute_id=${computes[0]!.compute_id}&token=${cerver.token}`;
    const status = await new Promise((resolve) => {
      const socket = new WebSocket(url, "cerver.tunnel.2");
      socket.on("unexpected-response", (_, response) => resolve(response.statusCode));
      socket.on("error", () => {});
    });
    expect(status).toBe(401);
  });
});

describe("our relay at a public gateway, which speaks only JSON frames", () => {
  test("answers requests with whole JSON bodies, and pings", async () => {
    const compute = await openCompute(join(cerver.folder, "state-public"), {});
    const { app } = compute;
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => false });
    await new Promise((resolve) => server.once("listening", resolve));
    const connected = new Promise<{ socket: WebSocket; url: string; authorization: string }>((resolve) => {
      server.on("connection", (socket, request) => {
        // The first dial offers level 2, and goes when nobody takes it up.
        if (request.headers["sec-websocket-protocol"]) return;
        resolve({ socket, url: request.url!, authorization: request.headers.authorization! });
      });
    });
    const abort = new AbortController();
    const serving = stayConnected({
      gatewayUrl: `http://127.0.0.1:${(server.address() as any).port}`,
      computeId: "comp_0123456789abcdef",
      token: "ck_secret",
      serve: async (request) => app.fetch(request),
      software: "cerver/test",
      logger: silentLogger,
      onState: () => {},
      signal: abort.signal,
    });
    const { socket, url, authorization } = await connected;
    expect([url, authorization]).toEqual([
      "/v2/connect/ws?compute_id=comp_0123456789abcdef",
      "Bearer ck_secret",
    ]);
    let id = 0;
    const ask = (method: string, path: string, body?: unknown) =>
      new Promise<any>((resolve) => {
        const requestId = `r${++id}`;
        const onMessage = (data: unknown) => {
          const frame = JSON.parse(String(data));
          if (frame.request_id !== requestId) return;
          socket.off("message", onMessage);
          resolve(frame);
        };
        socket.on("message", onMessage);
        socket.send(
          JSON.stringify({
            type: "request",
            request_id: requestId,
            method,
            path,
            headers: {},
            body,
            timeout_ms: 1,
          }),
        );
      });
    const base = "/api/cerver/provider";
    expect(await ask("GET", base)).toMatchObject({
      type: "response",
      status: 200,
      headers: {},
      body: { status: "ready" },
    });
    const { body } = await ask("POST", `${base}/sandboxes`, { engine: "shell", metadata: {} });
    const at = `${base}/sandboxes/${body.sandbox_id}`;
    expect(await ask("POST", `${at}/run`, { code: "echo $((6*7)); exit 2", timeout: 5 })).toMatchObject({
      status: 200,
      body: { exit_code: 2, stdout: "42\n", success: false },
    });
    const { body: streamed } = await ask("POST", `${at}/run/stream`, { code: "echo streamed" });
    expect(Object.keys(streamed)).toEqual(["text"]);
    expect(streamed.text).toContain('"data":"streamed\\n"');
    const large = await ask("POST", `${at}/run/stream`, { code: "head -c 3000000 /dev/zero" });
    expect(large).toMatchObject({
      status: 500,
      body: { error: expect.stringContaining("1 MiB"), hint: expect.any(String) },
    });
    expect(await ask("PURGE", at)).toMatchObject({ status: 405 });
    const pong = new Promise((resolve) => socket.once("message", resolve));
    socket.send('{"type":"ping"}');
    expect(JSON.parse(String(await pong))).toEqual({ type: "pong" });
    abort.abort();
    await serving;
    await compute.close();
    server.close();
  });

  test("waits after a clean close, too, and stops for good when it is refused", async () => {
    const times: number[] = [];
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await new Promise((resolve) => server.once("listening", resolve));
    server.on("connection", (socket) => {
      times.push(performance.now());
      socket.close(1000);
    });
    const options = {
      gatewayUrl: `http://127.0.0.1:${(server.address() as any).port}`,
      computeId: "cmp_1",
      token: "ck_x",
      serve: async () => new Response(),
      software: "test",
      logger: silentLogger,
      onState: () => {},
    };
    const abort = new AbortController();
    const serving = stayConnected({ ...options, signal: abort.signal });
    await expect.poll(() => times.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(3);
    abort.abort();
    await serving;
    expect(times[1]! - times[0]!).toBeGreaterThan(200);
    expect(times[2]! - times[1]!).toBeGreaterThan(450);
    server.close();
    const computeId = (await cerver.client.registerCompute({ label: "refused" })).compute_id;
    await expect(
      stayConnected({
        ...options,
        gatewayUrl: cerver.gateway.url,
        computeId,
        signal: new AbortController().signal,
      }),
    ).rejects.toMatchObject({ code: "unauthenticated", hint: expect.stringContaining("cerver relay") });
  });
});

test("a compute that is removed closes its relay's link for good, and its token ends", async () => {
  const relay = await cerver.attachRelay({ name: "removed" });
  const failed = expect(relay.done).rejects.toMatchObject({
    message: expect.stringContaining("was removed from its account"),
  });
  await new GatewayClient({ gatewayUrl: cerver.gateway.url, token: cerver.token }).deleteCompute(
    relay.computeId,
  );
  await failed;
});
