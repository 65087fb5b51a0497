import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { CerverError } from "../protocol/errors.js";
import { silentLogger } from "../util/logger.js";
import { Channel, type ChannelOptions } from "./channel.js";
import { encodeFrame, encodeHead, FrameType } from "./codec.js";
import type { FrameSocket } from "./frame-socket.js";
import { TunnelHub } from "./hub.js";
import { socketPair } from "./socket-pair.js";
import type { Serve } from "./wire.js";
import { wsSocket } from "./ws-socket.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Two ends of a real websocket on loopback. */
async function webSocketPair(): Promise<[FrameSocket, FrameSocket]> {
  const http = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => http.once("listening", resolve));
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  const accepted = new Promise<WebSocket>((resolve) => server.once("connection", resolve));
  const client = new WebSocket(`ws://127.0.0.1:${(http.address() as AddressInfo).port}`, {
    perMessageDeflate: false,
  });
  cleanups.push(() => {
    client.terminate();
    server.close();
    http.close();
  });
  await new Promise((resolve) => client.once("open", resolve));
  return [wsSocket(await accepted), wsSocket(client)];
}

function channel(socket: FrameSocket, options: Partial<ChannelOptions>): Channel {
  const made = new Channel({
    socket,
    level: 2,
    side: "gateway",
    logger: silentLogger,
    software: "test",
    ...options,
  });
  cleanups.push(() => made.close());
  return made;
}

const request = (path: string, init: RequestInit & { duplex?: "half" } = {}) =>
  new Request(`http://compute${path}`, init as RequestInit);
const messages = (socket: FrameSocket) => {
  const sent: (string | Uint8Array)[] = [];
  const { send } = socket;
  socket.send = (message) => {
    sent.push(message);
    send.call(socket, message);
  };
  return sent;
};

describe.each([
  ["in memory", async () => socketPair()],
  ["over a websocket", webSocketPair],
] as const)("a channel %s", (_, pair) => {
  async function join(serve: Serve, options: Partial<ChannelOptions> = {}) {
    const [a, b] = await pair();
    const relay = channel(b, { side: "relay", serve, ...options });
    return { gateway: channel(a, options), relay, sockets: [a, b] as const };
  }

  test("carries a small call as one message each way", async () => {
    const [a, b] = await pair();
    const sent = [messages(a), messages(b)];
    channel(b, {
      side: "relay",
      serve: async (req) => {
        const text = `${req.method} ${new URL(req.url).pathname}?${new URL(req.url).searchParams} ${req.headers.get("x-a")} ${await req.text()}`;
        return new Response(text, {
          status: 201,
          headers: { "content-length": String(Buffer.byteLength(text)), "x-b": "2" },
        });
      },
    });
    const gateway = channel(a, {});
    const response = await gateway.fetch(
      request("/p?q=1", { method: "POST", body: "hé", headers: { "x-a": "1", "content-length": "3" } }),
    );
    expect([response.status, response.headers.get("x-b"), await response.text()]).toEqual([
      201,
      "2",
      "POST /p?q=1 1 hé",
    ]);
    // The hello, and the call.
    expect(sent.map((list) => list.length)).toEqual([2, 2]);
    expect(gateway.peer).toEqual({ software: "test", version: 2 });
  });

  test("streams 50 MB both ways without losing a byte", async () => {
    const block = randomBytes(1_000_000);
    const { gateway } = await join(async (req) => new Response(req.body));
    let blocks = 50;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (blocks-- === 0) controller.close();
        else controller.enqueue(new Uint8Array(block));
      },
    });
    const response = await gateway.fetch(request("/echo", { method: "POST", body, duplex: "half" }));
    const [expected, actual] = [createHash("sha256"), createHash("sha256")];
    for (let i = 0; i < 50; i++) expected.update(block);
    for await (const chunk of response.body as any) actual.update(chunk);
    expect(actual.digest("hex")).toBe(expected.digest("hex"));
  }, 60_000);

  test("brings the first bytes while the rest is still being made", async () => {
    let finish!: () => void;
    const { gateway } = await join(
      async () =>
        new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(Buffer.from("first"));
              finish = () => {
                controller.enqueue(Buffer.from("last"));
                controller.close();
              };
            },
          }),
        ),
    );
    const reader = (await gateway.fetch(request("/"))).body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe("first");
    finish();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe("last");
    expect((await reader.read()).done).toBe(true);
  });

  test("a reader that stops stops the one who writes, and nobody else", async () => {
    let produced = 0;
    const { gateway } = await join(
      async (req) =>
        req.url.endsWith("/quick")
          ? new Response("quick")
          : new Response(
              new ReadableStream(
                {
                  pull(controller) {
                    produced += 16_384;
                    controller.enqueue(new Uint8Array(16_384));
                  },
                },
                { highWaterMark: 0 },
              ),
            ),
      { limits: { windowBytes: 128 * 1024 } },
    );
    const slow = await gateway.fetch(request("/endless"));
    await sleep(200);
    const stopped = produced;
    await sleep(200);
    expect(produced).toBe(stopped);
    expect(stopped).toBeLessThanOrEqual(128 * 1024 + 2 * 65_536);
    expect(await (await gateway.fetch(request("/quick"))).text()).toBe("quick");
    const reader = slow.body!.getReader();
    for (let i = 0; i < 40; i++) await reader.read();
    await expect.poll(() => produced).toBeGreaterThan(stopped);
    await reader.cancel();
  });

  test("cancelling reaches the one who serves: before the answer and while its body is read", async () => {
    const aborted: string[] = [];
    const { gateway } = await join(async (req) => {
      req.signal.addEventListener("abort", () => aborted.push(new URL(req.url).pathname));
      if (req.url.endsWith("/never")) await new Promise(() => {});
      return new Response(new ReadableStream({ cancel: () => void aborted.push("body") }));
    });
    const abort = new AbortController();
    const never = gateway.fetch(request("/never", { signal: abort.signal }));
    await sleep(20);
    abort.abort(new Error("changed my mind"));
    await expect(never).rejects.toThrow("changed my mind");
    const response = await gateway.fetch(request("/body"));
    await response.body!.cancel();
    await expect.poll(() => [...aborted].sort()).toEqual(["/body", "/never", "body"]);
    expect(gateway.streams).toBe(0);
  });

  test("a link that breaks fails what is under way, and never looks like an end", async () => {
    const { gateway, relay } = await join(async (req) =>
      req.url.endsWith("/wait")
        ? new Promise<Response>(() => {})
        : new Response(
            new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from("some")) }),
          ),
    );
    const waiting = gateway.fetch(request("/wait"));
    waiting.catch(() => {});
    const reader = (await gateway.fetch(request("/body"))).body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe("some");
    relay.close(1001, "going");
    await expect(waiting).rejects.toMatchObject({
      code: "compute_lost",
      message: expect.stringContaining("going"),
    });
    await expect(reader.read()).rejects.toMatchObject({ code: "compute_lost" });
    expect(await gateway.closed).toEqual({ code: 1001, reason: "going" });
    await expect(gateway.fetch(request("/"))).rejects.toMatchObject({ code: "compute_offline" });
  });

  test("200 requests at once each get their own answer", async () => {
    const { gateway } = await join(async (req) => {
      await sleep(Math.random() * 10);
      return new Response(`${new URL(req.url).pathname} ${await req.text()}`);
    });
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, i) =>
        (await gateway.fetch(request(`/${i}`, { method: "POST", body: `b${i}` }))).text(),
      ),
    );
    expect(answers).toEqual(Array.from({ length: 200 }, (_, i) => `/${i} b${i}`));
    expect(gateway.streams).toBe(0);
  });

  test("what a handler throws becomes an answer, and only what was meant for callers is told", async () => {
    const { gateway } = await join(async (req) => {
      if (req.url.endsWith("/known")) throw new CerverError("relay_full", "Full.", { hint: "Wait." });
      throw new Error("a secret detail");
    });
    const known = await gateway.fetch(request("/known"));
    expect([known.status, await known.json()]).toEqual([
      429,
      { error: "Full.", code: "relay_full", hint: "Wait.", retryable: true },
    ]);
    const bug = await gateway.fetch(request("/bug"));
    expect(bug.status).toBe(500);
    expect(await bug.text()).not.toContain("secret");
  });

  test("no bytes whatever throw out of a channel", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), async (frames) => {
        const [a, b] = socketPair();
        const ends = [channel(a, {}), channel(b, { side: "relay", serve: async () => new Response("x") })];
        for (const frame of frames) {
          a.send(frame);
          b.send(frame);
        }
        await sleep(1);
        for (const end of ends) end.close();
      }),
      { numRuns: 50 },
    );
  });
});

describe("a peer that breaks the rules", () => {
  test("with more data than was granted loses that stream only", async () => {
    const [a, b] = socketPair();
    const gateway = channel(a, { limits: { windowBytes: 1000 } });
    const cancelled: number[] = [];
    b.open({
      message: (message) => {
        const frame = Buffer.from(message as Uint8Array);
        const id = frame.readUInt32BE(2);
        if (frame[0] === FrameType.cancel) cancelled.push(id);
        if (frame[0] !== FrameType.request) return;
        b.send(encodeHead(FrameType.response, id, false, { status: 200, headers: [] }, undefined));
        const size = id === 1 ? 2000 : 500;
        b.send(encodeFrame(FrameType.data, id, true, new Uint8Array(size)));
      },
      pong() {},
      close() {},
    });
    const greedy = await gateway.fetch(request("/1"));
    const modest = await gateway.fetch(request("/2"));
    await expect(greedy.arrayBuffer()).rejects.toMatchObject({
      message: expect.stringContaining("more data than was granted"),
    });
    expect((await modest.arrayBuffer()).byteLength).toBe(500);
    expect(cancelled).toEqual([1]);
    expect(gateway.isOpen).toBe(true);
  });

  test("with a malformed answer loses that stream only, and with a frame that is too large the link", async () => {
    const [a, b] = socketPair();
    const gateway = channel(a, { limits: { maxFrameBytes: 10_000 } });
    const closed = new Promise<number>((resolve) => {
      b.open({
        message: (message) => {
          const frame = Buffer.from(message as Uint8Array);
          if (frame[0] !== FrameType.request) return;
          const id = frame.readUInt32BE(2);
          if (id === 1) b.send(encodeHead(FrameType.response, id, true, { status: 99 }, undefined));
          else b.send(new Uint8Array(20_000));
        },
        pong() {},
        close: resolve,
      });
    });
    await expect(gateway.fetch(request("/1"))).rejects.toThrow("a response is malformed");
    expect(gateway.isOpen).toBe(true);
    await expect(gateway.fetch(request("/2"))).rejects.toMatchObject({ code: "compute_lost" });
    expect(await closed).toBe(1009);
  });

  test("by falling silent counts as gone", async () => {
    const [a, b] = socketPair();
    const gateway = channel(a, { heartbeat: { intervalMs: 20, timeoutMs: 60 } });
    b.open({ message() {}, pong() {}, close() {} });
    const hub = new TunnelHub();
    hub.attach("cmp_1", gateway);
    expect(hub.isOnline("cmp_1")).toBe(true);
    expect((await gateway.closed).code).toBe(4408);
    expect(hub.isOnline("cmp_1")).toBe(false);
    await expect(hub.fetch("cmp_1", request("/"))).rejects.toMatchObject({
      code: "compute_offline",
      hint: "Start it with `cerver relay` on that machine.",
    });
  });

  test("a channel that answers pings lives on", async () => {
    const [a, b] = await webSocketPair();
    const times = { intervalMs: 20, timeoutMs: 80 };
    const gateway = channel(a, { heartbeat: times });
    channel(b, { side: "relay", heartbeat: times });
    await sleep(400);
    expect(gateway.isAlive).toBe(true);
  });

  test("the newest relay of a compute replaces the one before", async () => {
    const hub = new TunnelHub();
    const [first, second] = [channel(socketPair()[0], {}), channel(socketPair()[0], {})];
    hub.attach("cmp_1", first);
    hub.attach("cmp_1", second);
    expect((await first.closed).code).toBe(4409);
    expect(hub.channel("cmp_1")).toBe(second);
  });
});
