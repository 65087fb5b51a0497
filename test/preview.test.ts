import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type BrowserContext, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { openDatabase } from "../src/gateway/store/database.js";
import { type Cerver, startCerver } from "./harness.js";
import { newHome } from "./run-cerver.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);
const SERVER = join(import.meta.dirname, "fixtures", "preview-server.mjs");
// Ports are told apart by what /proc says.
const describeLinux = process.platform === "linux" ? describe : describe.skip;

let cerver: Cerver;
let session: string;
let port: number;
/** What a link leads to, without a slash at its end. */
let base: string;

/** Starts the server in a session, and waits until it says where it listens. */
async function serve(where: Cerver, sessionId: string, address = "127.0.0.1"): Promise<number> {
  const { run_id } = await where.client.startRun(sessionId, {
    code: `exec ${process.execPath} ${SERVER} ${address}`,
  });
  return until(async () => {
    const text = await (await where.client.runOutput(sessionId, run_id)).text();
    return text.includes("\n") ? Number(text) : undefined;
  });
}

async function linkTo(where: Cerver, sessionId: string, at: number, body: object = {}): Promise<string> {
  const response = await where.call("POST", `/v2/sessions/${sessionId}/ports/${at}/link`, body);
  expect(response.status).toBe(201);
  return ((await response.json()) as { url: string }).url.replace(/\/$/, "");
}

async function until<T>(look: () => Promise<T | undefined | false>, ms = 15_000): Promise<T> {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(30)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
  }
  throw new Error("it did not come to pass in time");
}

const facts = async () => (await (await fetch(`${base}/facts`)).json()) as any;
const echo = async (path: string, init: RequestInit = {}) =>
  (await (await fetch(base + path, init)).json()) as any;

/** A request as it is written by hand: with headers, and in ways, that fetch would not use. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(cerver.gateway.port, "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.once("close", () => resolve(answer)).once("error", reject);
    socket.write(text);
    setTimeout(() => socket.destroy(), 1_000);
  });
}

function get(
  url: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<IncomingMessage & { text: string }> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(url, { method, headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.once("end", () => resolve(Object.assign(response, { text })));
    });
    asked.once("error", reject).end();
  });
}

beforeAll(async () => {
  cerver = await startCerver();
  session = await cerver.session();
  port = await serve(cerver, session);
  base = await linkTo(cerver, session, port);
});
afterAll(() => cerver.stop());

describeLinux("a port of a session", () => {
  test("is listed with the process that listens, and linked to for an hour", async () => {
    const { ports } = (await (await cerver.call("GET", `/v2/sessions/${session}/ports`)).json()) as any;
    expect(ports).toEqual([
      {
        port,
        address: "127.0.0.1",
        pid: expect.any(Number),
        command: expect.stringContaining("preview-server"),
      },
    ]);
    const response = await cerver.call("POST", `/v2/sessions/${session}/ports/${port}/link`);
    const link = (await response.json()) as any;
    expect(link).toEqual({
      url: expect.stringMatching(`^${cerver.gateway.url}/v2/sessions/${session}/ports/${port}/~[\\w.-]+/$`),
      expires_at: expect.any(String),
      port,
    });
    expect(Date.parse(link.expires_at) - Date.now()).toBeGreaterThan(3_590_000);
    expect(Date.parse(link.expires_at) - Date.now()).toBeLessThan(3_600_001);
  });

  test("passes method, path, query, headers and body on, both ways", async () => {
    const answer = await echo("/echo?a=1&b=%20x%2Fy", {
      method: "PUT",
      headers: { "x-own": "kept", "content-type": "text/plain" },
      body: "räksmörgås",
    });
    expect(answer).toMatchObject({ method: "PUT", url: "/echo?a=1&b=%20x%2Fy", body: "räksmörgås" });
    expect(answer.headers).toMatchObject({
      "x-own": "kept",
      host: `localhost:${port}`,
      "content-type": "text/plain",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": new URL(cerver.gateway.url).host,
      "x-forwarded-proto": "http",
    });
    const missing = await fetch(`${base}/a//b/%2e/c`);
    expect([missing.status, await missing.text()]).toEqual([404, "nothing at /a//b/c"]);
    const headers = await fetch(`${base}/headers?x-a=1&x-a=2&connection=x-gone&x-gone=1`);
    expect(headers.headers.get("x-a")).toBe("1, 2");
    expect(headers.headers.get("x-gone")).toBe(null);
  });

  test("answers HEAD, 204 and 304 without a body", async () => {
    expect((await fetch(`${base}/echo`, { method: "HEAD" })).status).toBe(200);
    for (const code of [204, 205, 304]) {
      const response = await fetch(`${base}/status?code=${code}`);
      expect([response.status, await response.text()]).toEqual([code, ""]);
      expect(response.headers.get("content-type")).toBe(null);
    }
  });

  test("streams 20 MB up and down, whole", async () => {
    const bytes = Buffer.alloc(20 * 1024 * 1024);
    for (let at = 0; at < bytes.length; at += 65_536) bytes.fill((at / 65_536) % 256, at, at + 65_536);
    const hash = createHash("sha256").update(bytes).digest("hex");
    const up = await echo("/echo", { method: "POST", body: bytes });
    expect([up.length, up.hash]).toEqual([bytes.length, hash]);
    const down = Buffer.from(await (await fetch(`${base}/big?bytes=${bytes.length}`)).arrayBuffer());
    expect([down.length, createHash("sha256").update(down).digest("hex")]).toEqual([bytes.length, hash]);
  });

  test("shows server-sent events as they come, and the server sees the visitor leave", async () => {
    const before = (await facts()).closedEarly;
    const leave = new AbortController();
    const response = await fetch(`${base}/events`, { signal: leave.signal });
    const delays: number[] = [];
    let text = "";
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text = Buffer.from(chunk).toString();
      delays.push(Date.now() - Number(/data: (\d+)/.exec(text)![1]));
      if (delays.length === 5) break;
    }
    leave.abort();
    expect(Math.max(...delays)).toBeLessThan(1_000);
    await until(async () => (await facts()).closedEarly > before);
  });

  test("makes up no type of content", async () => {
    expect((await fetch(`${base}/headers`)).headers.get("content-type")).toBe(null);
  });

  test("answers one that is still sending, and serves the next", async () => {
    const { hostname, port: at, pathname } = new URL(base);
    const status = await new Promise<number>((resolve, reject) => {
      const asked = httpRequest({ hostname, port: at, path: `${pathname}/status?code=413`, method: "POST" });
      asked.once("response", (response) => {
        response.resume();
        resolve(response.statusCode!);
        asked.destroy();
      });
      asked.once("error", reject);
      asked.write("x".repeat(200_000));
    });
    expect(status).toBe(413);
    expect((await fetch(`${base}/echo`)).status).toBe(200);
  });

  test("is held up by a visitor who does not read, and loses no memory to it", async () => {
    const { hostname, port: at, pathname } = new URL(base);
    const before = (await facts()).written;
    const socket = connect(Number(at), hostname);
    socket.pause();
    socket.write(`GET ${pathname}/big?bytes=1000000000 HTTP/1.1\r\nhost: x\r\n\r\n`);
    const written = async () => (await facts()).written - before;
    await until(async () => (await written()) > 0);
    let last = -1;
    await until(async () => {
      const now = await written();
      const stands = now === last;
      last = now;
      await sleep(300);
      return stands;
    });
    // What the buffers of five sockets and the window of the tunnel hold.
    expect(last).toBeLessThan(40_000_000);
    socket.destroy();
  });

  test("takes 256 requests at once, and says so to one more", async () => {
    const many = await cerver.session();
    const url = await linkTo(cerver, many, await serve(cerver, many));
    const leave = new AbortController();
    const waiting = Array.from({ length: 256 }, () => fetch(`${url}/silence`, { signal: leave.signal }));
    for (const one of waiting) one.catch(() => {});
    const refused = await until(async () => {
      const response = await fetch(`${url}/status?code=200`);
      return response.status === 429 && response;
    });
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchObject({ code: "too_many_requests", retryable: true });
    leave.abort();
    await until(async () => (await fetch(`${url}/status?code=200`)).status === 200);
  }, 90_000);

  test("breaks an answer that its server breaks off", async () => {
    const response = await fetch(`${base}/half`);
    expect(response.status).toBe(200);
    await expect(response.arrayBuffer()).rejects.toThrow();
  });

  test("is open to a token of the account as well", async () => {
    const clean = `/v2/sessions/${session}/ports/${port}/echo`;
    const answer = (await (
      await cerver.call("POST", clean, "hello", { "content-type": "text/plain" })
    ).json()) as any;
    expect(answer).toMatchObject({ method: "POST", body: "hello" });
    expect(answer.headers.authorization).toBe(undefined);
    expect((await fetch(cerver.gateway.url + clean)).status).toBe(401);
    const reader = await cerver.gateway.createToken({ label: "", scopes: ["read"] });
    const refused = await fetch(cerver.gateway.url + clean, {
      headers: { authorization: `Bearer ${reader}` },
    });
    expect(refused.status).toBe(403);
  });

  test("is found on IPv6 and on all addresses, too", async () => {
    for (const address of ["::", "0.0.0.0", "::1"]) {
      const at = await serve(cerver, session, address);
      const url = await linkTo(cerver, session, at);
      expect((await fetch(`${url}/echo`)).status).toBe(200);
    }
  });
});

describeLinux("a websocket of a session", () => {
  const open = (path = "/socket", headers: Record<string, string> = {}, protocols: string[] = []) =>
    new Promise<WebSocket>((resolve, reject) => {
      const socket = new WebSocket(base.replace("http", "ws") + path, protocols, { headers });
      socket.once("open", () => resolve(socket)).once("error", reject);
      socket.once("unexpected-response", (_, response) => reject(new Error(`HTTP ${response.statusCode}`)));
    });
  const next = (socket: WebSocket) =>
    new Promise<{ data: Buffer; binary: boolean }>((resolve) =>
      socket.once("message", (data, binary) => resolve({ data: data as Buffer, binary })),
    );

  test("carries text, binary, subprotocol and close code", async () => {
    const socket = await open("/socket?x=1", {}, ["echo.1", "echo.2"]);
    expect(socket.protocol).toBe("echo.2");
    socket.send("häl");
    expect(String((await next(socket)).data)).toBe("häl");
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, at) => at % 251));
    socket.send(bytes);
    expect(await next(socket)).toEqual({ data: bytes, binary: true });
    socket.send("close 4321");
    const [code, reason] = await new Promise<[number, Buffer]>((resolve) =>
      socket.once("close", (...end) => resolve(end)),
    );
    expect([code, String(reason)]).toEqual([4321, "as asked"]);
    await until(async () => (await facts()).sockets === 0);
  });

  test("carries 1,000 messages in order", async () => {
    const socket = await open();
    const heard: string[] = [];
    socket.on("message", (data) => heard.push(String(data)));
    for (let at = 0; at < 1_000; at++) socket.send(`${at} ${"x".repeat(at)}`);
    await until(async () => heard.length === 1_000);
    expect(heard.every((text, at) => text === `${at} ${"x".repeat(at)}`)).toBe(true);
    socket.terminate();
    await until(async () => (await facts()).sockets === 0);
  });

  test("is refused as its server refuses it", async () => {
    await expect(open("/refuse")).rejects.toThrow("HTTP 418");
  });

  test("knows its page by Origin, and shows the server neither our token nor where the page is", async () => {
    await expect(open("/socket", { origin: "https://evil.example" })).rejects.toThrow("HTTP 403");
    const socket = await open("/socket", {
      origin: "null",
      authorization: `Bearer ${cerver.token}`,
      cookie: "cerver_signin=secret; app=1",
    });
    socket.send("headers");
    const headers = JSON.parse(String((await next(socket)).data));
    expect(headers).toMatchObject({
      origin: `http://localhost:${port}`,
      host: `localhost:${port}`,
      cookie: "app=1",
    });
    expect(headers.authorization).toBe(undefined);
    socket.close();
  });
});

describeLinux("what is kept out", () => {
  test("a port of another process of this machine, and one that nobody listens on", async () => {
    const other = createServer((_, response) => response.end("the owner's own")).listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port: foreign } = other.address() as AddressInfo;
    expect(await (await fetch(`http://127.0.0.1:${foreign}/`)).text()).toBe("the owner's own");
    for (const at of [foreign, 1, cerver.gateway.port]) {
      const response = await fetch(`${await linkTo(cerver, session, at)}/`);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({
        code: "not_found",
        error: `Nothing of this session listens on port ${at}.`,
        hint: expect.stringContaining("127.0.0.1"),
      });
    }
    const second = await cerver.session();
    expect((await fetch(`${await linkTo(cerver, second, port)}/`)).status).toBe(404);
    other.close();
  });

  test("a link that has expired, was changed, or is for another port", async () => {
    const short = await linkTo(cerver, session, port, { expires_in: 3 });
    expect((await fetch(`${short}/echo`)).status).toBe(200);
    const silent = fetch(`${short}/silence`);
    // What is open ends with its link.
    const socket = new WebSocket(`${short.replace("http", "ws")}/socket`);
    const ended = new Promise((resolve) => socket.once("close", resolve));
    await expect((await fetch(`${short}/events`)).text()).rejects.toThrow();
    const expired = await fetch(`${short}/echo`);
    expect(expired.status).toBe(410);
    expect(await expired.json()).toMatchObject({
      code: "link_expired",
      error: expect.stringContaining("ended at"),
    });
    await ended;
    expect((await silent).status).toBe(410);
    const later = short.replace(/~(\d+)/, (_, at) => `~${Number(at) + 1000}`);
    const changed = base.replace(/.$/, (last) => (last === "A" ? "Q" : "A"));
    const elsewhere = base.replace(`/ports/${port}/`, `/ports/${port + 1}/`);
    for (const url of [later, changed, elsewhere, base.replace(/\.[^.]*$/, "")])
      expect((await fetch(`${url}/echo`)).status).toBe(404);
  });

  test("another account, a port that is none, a time that is too long", async () => {
    const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
    await db.insertInto("accounts").values({ id: "acct_other", name: "other", created_at: 0 }).execute();
    const { ApiTokens } = await import("../src/gateway/account/api-tokens.js");
    const { key } = await new ApiTokens({ db }).create("acct_other", { label: "", scopes: ["admin"] });
    await db.destroy();
    const headers = { authorization: `Bearer ${key}` };
    for (const [method, path] of [
      ["GET", `/v2/sessions/${session}/ports`],
      ["POST", `/v2/sessions/${session}/ports/${port}/link`],
      ["GET", `/v2/sessions/${session}/ports/${port}/echo`],
    ] as const)
      expect((await fetch(cerver.gateway.url + path, { method, headers })).status).toBe(404);
    expect((await cerver.call("POST", `/v2/sessions/${session}/ports/70000/link`)).status).toBe(400);
    const long = await cerver.call("POST", `/v2/sessions/${session}/ports/${port}/link`, {
      expires_in: 604_801,
    });
    expect(long.status).toBe(400);
  });

  test("our token, our cookie and what speaks of one connection", async () => {
    const answer = await get(`${base}/echo`, {
      cookie: "a=1; cerver_signin=secret; cerver_preview=ticket; __Host-cerver_preview=x; b=2",
      authorization: `Bearer ${cerver.token}`,
      referer: `${base}/`,
      connection: "x-mine, keep-alive",
      "x-mine": "1",
      te: "trailers",
      "x-forwarded-for": "203.0.113.1",
      "x-forwarded-host": "evil.example",
      "x-cerver-port-answer": "answer",
    });
    const { headers } = JSON.parse(answer.text);
    expect(headers).toMatchObject({
      cookie: "a=1; b=2",
      "x-forwarded-for": "203.0.113.1, 127.0.0.1",
      "x-forwarded-host": new URL(cerver.gateway.url).host,
    });
    for (const name of ["authorization", "referer", "x-mine", "te", "x-cerver-port-answer"])
      expect(headers[name]).toBe(undefined);
    const basic = await get(`${base}/echo`, { authorization: "Basic YTpi" });
    expect(JSON.parse(basic.text).headers.authorization).toBe("Basic YTpi");
  });

  test("requests that hide another request", async () => {
    const host = new URL(cerver.gateway.url).host;
    const path = new URL(base).pathname;
    const hidden = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    const both = `POST ${path}/echo HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`;
    expect(await raw(both)).toMatch(/^HTTP\/1.1 400 /);
    const two = `POST ${path}/echo HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 4\r\ncontent-length: 60\r\n\r\nabcd${hidden}`;
    expect(await raw(two)).toMatch(/^HTTP\/1.1 400 /);
    // A GET with a length: its bytes must not become a request of their own at the server.
    const get = `GET ${path}/echo?get HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${hidden.length}\r\n\r\n${hidden}`;
    expect(await raw(get)).toContain("HTTP/1.1 200 OK");
    const named = `POST ${path}/echo?named HTTP/1.1\r\nhost: ${host}\r\nconnection: content-length\r\ncontent-length: ${hidden.length}\r\n\r\n${hidden}`;
    expect(await raw(named)).toContain("HTTP/1.1 200 OK");
    const { seen } = await facts();
    expect(seen).toContain("GET /echo?get");
    expect(seen).toContain("POST /echo?named");
    expect(seen.filter((line: string) => line.includes("smuggled"))).toEqual([]);
  });

  test("methods and protocols that cannot be carried", async () => {
    const head = `${new URL(base).pathname}/echo HTTP/1.1\r\nhost: x\r\n`;
    expect(await raw(`TRACE ${head}connection: close\r\n\r\n`)).toMatch(/^HTTP\/1.1 405 /);
    expect(await raw(`GET ${head}connection: Upgrade\r\nupgrade: h2c\r\n\r\n`)).toMatch(/^HTTP\/1.1 501 /);
  });

  test("paths that lead out of the port", async () => {
    const host = new URL(cerver.gateway.url).host;
    const path = new URL(base).pathname;
    for (const out of ["/../../../../../x", "/%2e%2e/%2e%2e/x", "/..%2f..%2fx", "/..\\..\\x"]) {
      const answer = await raw(`GET ${path}${out} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1.1 (?:400|401|404) /);
      expect(answer).not.toContain("cerver_local_provider");
    }
  });

  test("cookies and redirects that would leave the port's path", async () => {
    const own = new URL(base).pathname;
    const cookies = new URLSearchParams([
      ["set-cookie", "a=1; Domain=example.com; Path=/; HttpOnly"],
      ["set-cookie", "b=2; path=/app"],
      ["set-cookie", "c=3"],
      ["set-cookie", "cerver_signin=stolen; Path=/"],
    ]);
    const response = await fetch(`${base}/headers?${cookies}`);
    expect(response.headers.getSetCookie()).toEqual([
      `a=1; Path=${own}/; HttpOnly`,
      `b=2; Path=${own}/app`,
      "c=3",
    ]);
    for (const [to, seen] of [
      ["/login?x=1", `${own}/login?x=1`],
      [`http://localhost:${port}/a`, `${own}/a`],
      [`http://127.0.0.1:${port}/a#b`, `${own}/a#b`],
      ["next", "next"],
      ["https://example.com/", "https://example.com/"],
      ["//example.com/x", "//example.com/x"],
    ]) {
      const redirect = await fetch(`${base}/status?code=302&to=${encodeURIComponent(to!)}`, {
        redirect: "manual",
      });
      expect(redirect.headers.get("location")).toBe(seen);
    }
  });

  test("what would speak for the gateway's own origin", async () => {
    const asked = new URLSearchParams({
      "clear-site-data": '"*"',
      "strict-transport-security": "max-age=1",
      "service-worker-allowed": "/",
      "content-security-policy": "default-src 'self'",
      "cache-control": "public, max-age=60",
    });
    const { headers } = await fetch(`${base}/headers?${asked}`);
    expect(headers.get("content-security-policy")).toBe(
      "default-src 'self', sandbox allow-scripts allow-forms allow-popups allow-downloads",
    );
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("cache-control")).toBe("private, max-age=60");
    for (const name of ["clear-site-data", "strict-transport-security", "service-worker-allowed"])
      expect(headers.get(name)).toBe(null);
  });
});

describeLinux("cerver port", () => {
  test("prints a link, as JSON if wanted, and lists what listens", async () => {
    const home = await newHome();
    onTestFinished(() => home.remove());
    const env = { CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token };
    const cli = (...args: string[]) => home.run(["port", session.slice(0, 20), ...args], { env });
    const printed = await cli(String(port), "--expires", "2h");
    expect(printed).toMatchObject({ code: 0, stderr: expect.stringContaining("sees the port until") });
    expect((await fetch(`${printed.stdout.trim()}echo`)).status).toBe(200);
    const { expires_at, ...link } = JSON.parse((await cli(String(port), "--json")).stdout);
    expect(link).toEqual({ port, url: expect.stringContaining(`/v2/sessions/${session}/ports/${port}/~`) });
    expect(Date.parse(expires_at)).toBeGreaterThan(Date.now());
    expect((await cli()).stdout).toMatch(new RegExp(`^PORT [^]*\n${port} +127\\.0\\.0\\.1 `));
    expect(await cli("70000")).toMatchObject({ code: 2 });
  });
});

describeLinux("on a gateway without tokens", () => {
  test("a link works for the sandboxed page as well", async () => {
    const open = await startCerver({ gateway: { noAuth: true } });
    try {
      const id = await open.session();
      const url = await linkTo(open, id, await serve(open, id));
      const response = await fetch(`${url}/echo`, { headers: { origin: "null" } });
      expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, "*"]);
      const preflight = await fetch(`${url}/echo`, {
        method: "OPTIONS",
        headers: {
          origin: "null",
          "access-control-request-method": "PUT",
          "access-control-request-headers": "x-own",
        },
      });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get("access-control-allow-methods")).toBe("PUT");
      expect(preflight.headers.get("access-control-allow-headers")).toBe("x-own");
    } finally {
      await open.stop();
    }
  });
});

describeLinux("when something goes", () => {
  test("an ended session's link is gone, and its open streams end", async () => {
    const short = await cerver.session();
    const at = await serve(cerver, short);
    const url = await linkTo(cerver, short, at);
    const events = await fetch(`${url}/events`);
    const socket = new WebSocket(`${url.replace("http", "ws")}/socket`);
    await new Promise((resolve) => socket.once("open", resolve));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const broken = events.text().then(
      () => "ended",
      () => "broken",
    );
    await cerver.client.closeSession(short);
    expect(await broken).toBe("broken");
    await closed;
    const response = await fetch(`${url}/echo`);
    expect([response.status, ((await response.json()) as any).code]).toEqual([410, "session_ended"]);
    expect((await cerver.call("POST", `/v2/sessions/${short}/ports/${at}/link`)).status).toBe(410);
  });

  test("a relay that goes breaks what it streams, and its ports are offline", async () => {
    const relay = await cerver.attachRelay({ name: "goes" });
    const there = await cerver.session({ target_compute_id: relay.computeId });
    const url = await linkTo(cerver, there, await serve(cerver, there));
    const events = await fetch(`${url}/events`);
    const socket = new WebSocket(`${url.replace("http", "ws")}/socket`);
    await new Promise((resolve) => socket.once("open", resolve));
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    const broken = events.text().then(
      () => "ended",
      () => "broken",
    );
    await relay.stop();
    expect(await broken).toBe("broken");
    expect(await closed).toBe(1006);
    const response = await fetch(`${url}/echo`);
    expect([response.status, ((await response.json()) as any).code]).toEqual([503, "compute_offline"]);
  });

  test("a relay that is killed breaks what it streams; the next one shows the same server again", async () => {
    const home = await newHome();
    onTestFinished(() => home.remove());
    const start = () =>
      home.start(["relay", "--gateway", cerver.gateway.url, "--name", "killed"], {
        CERVER_API_TOKEN: cerver.token,
      });
    const killed = start();
    const computeId = (await killed.prints(/(cmp_[0-9a-f]{32})/))[1]!;
    const there = await cerver.session({ target_compute_id: computeId });
    const url = await linkTo(cerver, there, await serve(cerver, there));
    const before = ((await (await fetch(`${url}/facts`)).json()) as any).seen.length;
    const events = await fetch(`${url}/events`);
    const socket = new WebSocket(`${url.replace("http", "ws")}/socket`);
    await new Promise((resolve) => socket.once("open", resolve));
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    const broken = events.text().then(
      () => "ended",
      () => "broken",
    );
    killed.child.kill("SIGKILL");
    expect(await broken).toBe("broken");
    expect(await closed).toBe(1006);
    const next = start();
    const again = await until(async () => {
      const response = await fetch(`${url}/facts`);
      return response.status === 200 && response;
    });
    const { seen, sockets } = (await again.json()) as any;
    expect(seen.length).toBeGreaterThan(before);
    expect(sockets).toBe(0);
    next.child.kill("SIGINT");
    await next.exited;
  });

  test("a session without a compute has no ports", async () => {
    const bare = await cerver.session({ compute: null });
    expect((await cerver.call("POST", `/v2/sessions/${bare}/ports/3000/link`)).status).toBe(409);
  });
});

const browse = async (run: (context: BrowserContext) => Promise<void>) => {
  const profile = await mkdtemp(join(tmpdir(), "cerver-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM!,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
    ],
  });
  try {
    await run(context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
};

describe.skipIf(!CHROMIUM || process.platform !== "linux")("in a real browser", () => {
  test("a page works with its style, script, fetch and websocket, and is nobody's origin", async () => {
    await browse(async (context) => {
      const page = context.pages()[0]!;
      await page.goto(await cerver.gateway.createSigninLink());
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.goto(`${base}/`);
      const text = (id: string) => page.locator(`#${id}`);
      await text("socket").getByText("hello from the page").waitFor();
      await text("fetch").getByText('POST {"a":1}').waitFor();
      expect(await text("script").innerText()).toBe("yes");
      expect(await text("origin").innerText()).toBe("null");
      // It cannot act as the person who is signed in to the gateway in this browser.
      await text("gateway").getByText("refused").waitFor();
      expect(await page.evaluate(`getComputedStyle(document.getElementById("script")).color`)).toBe(
        "rgb(1, 2, 3)",
      );
      const { seen } = await facts();
      expect(seen.filter((line: string) => line.includes("~"))).toEqual([]);
    });
  });

  test("a signed-in browser gets a link by itself", async () => {
    await browse(async (context) => {
      const page = context.pages()[0]!;
      await page.goto(await cerver.gateway.createSigninLink());
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.goto(`${cerver.gateway.url}/v2/sessions/${session}/ports/${port}`);
      await page.locator("#socket").getByText("hello from the page").waitFor();
    });
  });

  test("with a preview host, a page has an origin and an address of its own", async () => {
    const hosted = await startCerver({ gateway: { previewHost: "*.localhost" } });
    try {
      const id = await hosted.session();
      const at = await serve(hosted, id);
      const url = await linkTo(hosted, id, at);
      const host = `${at}-${id.slice(5)}.localhost:${hosted.gateway.port}`;
      expect(url.startsWith(`http://${host}/?cerver_link=`)).toBe(true);
      await browse(async (context) => {
        const page = context.pages()[0]!;
        await page.goto(await hosted.gateway.createSigninLink());
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.goto(url);
        expect(page.url()).toBe(`http://${host}/`);
        await page.locator("#socket").getByText("hello from the page").waitFor();
        await page.locator("#fetch").getByText('POST {"a":1}').waitFor();
        expect(await page.locator("#origin").innerText()).toBe(`http://${host}`);
        const cookies = await context.cookies(`http://${host}/`);
        expect(cookies).toMatchObject([
          { name: "cerver_preview", httpOnly: true, sameSite: "Lax", path: "/" },
        ]);
      });
      const there = `http://127.0.0.1:${hosted.gateway.port}/echo`;
      expect((await get(there, { host })).statusCode).toBe(401);
      const ticket = /cerver_link=(.*)$/.exec(url)![1];
      const answer = await get(there, { host, cookie: `cerver_preview=${ticket}; app=1` });
      expect(JSON.parse(answer.text).headers).toMatchObject({ cookie: "app=1", host: `localhost:${at}` });
      expect(answer.headers["content-security-policy"]).toBe(undefined);
      const other = host.replace(String(at), String(at + 1));
      expect((await get(there, { host: other, cookie: `cerver_preview=${ticket}` })).statusCode).toBe(404);
      const foreign = new WebSocket(`ws://127.0.0.1:${hosted.gateway.port}/socket`, {
        headers: { host, cookie: `cerver_preview=${ticket}`, origin: "null" },
      });
      const [, refused] = await new Promise<[unknown, IncomingMessage]>((resolve) =>
        foreign.once("unexpected-response", (...args) => resolve(args)),
      );
      expect(refused.statusCode).toBe(403);
    } finally {
      await hosted.stop();
    }
  });
});
