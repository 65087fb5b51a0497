import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer as createHttpServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DirectLink } from "../src/gateway/compute/direct-link.js";
import { p69Provider } from "../src/gateway/compute/providers/p69.js";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { newId } from "../src/protocol/ids.js";
import { type RelayConfigInput, relayConfig } from "../src/relay/config.js";
import { startListening } from "../src/relay/start.js";
import { silentLogger } from "../src/util/logger.js";
import { isAlive, startCerver } from "./harness.js";
import { newHome } from "./run-cerver.js";

const INFO = "/api/cerver/provider";
let folder: string;
let relay: Awaited<ReturnType<typeof startListening>>;
const closers: (() => unknown)[] = [];

const start = (given: RelayConfigInput = {}) =>
  startListening(
    relayConfig(
      {
        listen: "0",
        graceMs: 300,
        runGraceMs: 1_500,
        stateDir: join(folder, "state"),
        configDir: join(folder, "config"),
        ...given,
      },
      { PATH: process.env.PATH, HOME: folder },
    ),
    { hasDisplay: false, logger: silentLogger },
  );

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-direct-"));
  relay = await start();
});
afterAll(async () => {
  for (const close of closers.reverse()) await close();
  await relay.stop();
  await rm(folder, { recursive: true, force: true });
});

function linkTo(baseUrl: string, token: string | undefined = relay.token): DirectLink {
  const link = new DirectLink({ baseUrl, token });
  closers.push(() => link.close());
  return link;
}

/** The adapter over a link, and a sandbox. */
async function sandboxOver(link: DirectLink) {
  const adapter = p69Provider((_, request) => link.fetch(request));
  const env = (signal = new AbortController().signal) => ({
    computeId: "cmp_direct",
    credentials: {},
    signal,
  });
  const record = await adapter.createSandbox({ engine: "shell", metadata: {} }, env());
  const run = (code: string, more: object = {}, signal?: AbortSignal) =>
    adapter.runSandbox(record, { code, runtime: "shell", ...more }, env(signal));
  return { adapter, env, record, run };
}

/** Between a link and the relay: connections that can be cut. */
async function wire(to: string): Promise<{ url: string; cut(): void; server: Server }> {
  const { port, hostname } = new URL(to);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  closers.push(() => {
    cut();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut, server };
}

/** A request word for word: `fetch` forbids some of these headers. */
function plain(
  path: string,
  headers: Record<string, string>,
  method = "GET",
): Promise<{ status: number; body: { error: string; code: string; status: string } }> {
  const { hostname, port } = new URL(relay.url);
  return new Promise((resolve, reject) => {
    httpRequest({ hostname, port, path, method, headers }, async (answer) => {
      let text = "";
      for await (const chunk of answer) text += chunk;
      resolve({ status: answer.statusCode!, body: JSON.parse(text) });
    })
      .on("error", reject)
      .end();
  });
}
const bearer = () => ({ authorization: `Bearer ${relay.token}` });

describe("a relay that listens", () => {
  test("listens on this machine alone unless told otherwise", () => {
    expect(relay.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });

  test("says without a token that it is there, and nothing else", async () => {
    expect(await plain("/health", {})).toMatchObject({ status: 200, body: { status: "ok" } });
    for (const path of [
      INFO,
      `${INFO}/sandboxes`,
      "/",
      "/health/../api",
      "/health?x",
      "/api/cerver/calls/abcdefgh",
    ])
      expect(await plain(path, {})).toMatchObject({ status: 401, body: { code: "unauthenticated" } });
    expect((await plain("/health", {}, "POST")).status).toBe(401);
  });

  test.each([
    ["another token", "Bearer p69_wrong"],
    ["the token and more", "Bearer TOKENx"],
    ["a part of the token", "Bearer TOKE"],
    ["another scheme", "Basic TOKEN"],
    ["an empty one", "Bearer "],
    ["two", "Bearer TOKEN TOKEN"],
  ])("refuses %s", async (_, authorization) => {
    const given = authorization.replaceAll("TOKEN", relay.token).replace("TOKE", relay.token.slice(0, -1));
    expect(await plain(INFO, { authorization: given })).toMatchObject({
      status: 401,
      body: { code: "unauthenticated" },
    });
  });

  test("refuses web pages, and names that are not its own, also with the token", async () => {
    expect((await plain(INFO, bearer())).status).toBe(200);
    for (const origin of ["https://evil.example", "http://localhost:3000", "null", relay.url])
      expect(await plain(INFO, { ...bearer(), origin })).toMatchObject({
        status: 403,
        body: { code: "forbidden" },
      });
    for (const host of ["evil.example", "evil.example:18081", "127.0.0.1.evil.example", "192.0.2.1", "."])
      expect((await plain(INFO, { ...bearer(), host })).status).toBe(403);
    for (const host of ["localhost", "LOCALHOST:1", "127.0.0.1:18081", "[::1]:5"])
      expect((await plain(INFO, { ...bearer(), host })).status).toBe(200);
    expect((await plain("/health", { host: "evil.example" })).status).toBe(403);
  });

  test("keeps its token in a file for its owner alone, and has it again at the next start", async () => {
    expect(relay.tokenFile).toBe(join(folder, "config", "p69-token"));
    expect((await stat(relay.tokenFile!)).mode & 0o777).toBe(0o600);
    expect((await readFile(relay.tokenFile!, "utf8")).trim()).toBe(relay.token);
    expect(relay.token).toMatch(/^p69_[\w-]{43}$/);
    const { token } = relay;
    await relay.stop();
    relay = await start();
    expect(relay.token).toBe(token);
  });

  test("takes the token it is given", async () => {
    const other = await start({
      listenToken: "given-token-0123456789",
      stateDir: join(folder, "other-state"),
      configDir: join(folder, "other-config"),
    });
    closers.push(() => other.stop());
    expect(other).toMatchObject({ token: "given-token-0123456789", tokenFile: undefined });
    await expect(stat(join(folder, "other-config", "p69-token"))).rejects.toMatchObject({ code: "ENOENT" });
    expect(() => relayConfig({ listenToken: "short" }, {})).toThrow(/listenToken: has to be 16 to 512/);
  });

  test.each(["", "host", "1.2.3.4:", ":80", "99999", "[::1]", "http://x:80", "a:b:80"])(
    "refuses to listen on %j",
    (listen) => {
      expect(() => relayConfig({ listen }, {})).toThrow(/listen: has to be PORT or HOST:PORT/);
    },
  );

  test("says that a port is taken", async () => {
    const { port } = new URL(relay.url);
    await expect(start({ listen: port, stateDir: join(folder, "third") })).rejects.toMatchObject({
      code: "conflict",
      message: `Port ${port} on 127.0.0.1 is in use by another program.`,
    });
  });
});

describe("the straight way", () => {
  test("is compute_offline when nobody listens, and nothing was sent", async () => {
    const { url, server } = await wire(relay.url);
    await new Promise((resolve) => server.close(resolve));
    const ask = linkTo(url).fetch(new Request(`http://compute${INFO}`));
    await expect(ask).rejects.toMatchObject({
      code: "compute_offline",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("is compute_lost when the connection breaks while an answer is waited for, or is read", async () => {
    const { url, cut } = await wire(relay.url);
    const { run, adapter, record, env } = await sandboxOver(linkTo(url));
    const waiting = run("touch begun; sleep 20");
    const lost = expect(waiting).rejects.toMatchObject({ code: "compute_lost" });
    await expect.poll(async () => (await run("ls")).text()).toContain("begun");
    cut();
    await lost;
    const stream = await adapter.runSandboxStream(
      record,
      { code: "echo x; sleep 20", runtime: "shell" },
      env(),
    );
    const reading = stream.text();
    const broken = expect(reading).rejects.toMatchObject({ code: "compute_lost" });
    setTimeout(cut, 200);
    await broken;
  });

  test("ends a run whose caller leaves at once; after a broken connection it goes on for the grace time", async () => {
    const { url, cut } = await wire(relay.url);
    const link = linkTo(url);
    const { run, adapter, env } = await sandboxOver(link);
    const kept = async (id: string) => (await adapter.durable!.lookup([id], env()))[0];

    const left = newId("run");
    const leave = new AbortController();
    const leaving = run("sleep 20", { run_id: left }, leave.signal).catch((error: unknown) => error);
    await expect.poll(async () => (await kept(left))?.status).toBe("running");
    leave.abort(new Error("the caller left"));
    expect(await leaving).toMatchObject({ message: "the caller left" });
    await expect.poll(async () => (await kept(left))?.status, { timeout: 1_200 }).toBe("cancelled");

    const broken = newId("run");
    const breaking = run("sleep 1; echo whole", { run_id: broken }).catch((error: unknown) => error);
    await expect.poll(async () => (await kept(broken))?.status).toBe("running");
    cut();
    expect(await breaking).toMatchObject({ code: "compute_lost" });
    expect((await kept(broken))?.status).toBe("running");
    const answer = await adapter.durable!.answer({ computeId: "cmp_direct", runId: broken }, env());
    expect(await answer.json()).toMatchObject({ status: "succeeded", stdout: "whole\n" });
  });

  test("starts nothing for a call whose end overtook it", async () => {
    const { record, run } = await sandboxOver(linkTo(relay.url));
    const at = `${relay.url}/api/cerver`;
    const ended = await fetch(`${at}/calls/req_overtaken`, { method: "DELETE", headers: bearer() });
    expect(await ended.json()).toEqual({ success: true, ended: false });
    const late = await fetch(`${at}/provider/sandboxes/${record.sandboxId}/run`, {
      method: "POST",
      headers: { ...bearer(), "x-cerver-call": "req_overtaken" },
      body: JSON.stringify({ code: "touch started" }),
    });
    expect([late.status, await late.json()]).toMatchObject([504, { code: "timed_out" }]);
    expect(await (await run("ls")).json()).toMatchObject({ stdout: "" });
  });

  test("carries large bodies both ways", async () => {
    const { adapter, env, record } = await sandboxOver(linkTo(relay.url));
    const content = randomBytes(8 * 1024 * 1024).toString("base64");
    const written = await adapter.writeFile(record, { path: "big", content, encoding: "base64" }, env());
    expect(await written.json()).toMatchObject({ size: 8 * 1024 * 1024 });
    const read = (await (await adapter.readFile(record, "big", "base64", env())).json()) as {
      content: string;
    };
    expect(read.content === content).toBe(true);
  });

  test("says that the relay refused the gateway's token, and not the caller's", async () => {
    await expect(
      linkTo(relay.url, "wrong").fetch(new Request(`http://compute${INFO}`)),
    ).rejects.toMatchObject({
      code: "credentials_refused",
      hint: expect.stringContaining("P69_API_TOKEN"),
    });
  });

  test("follows no redirect, and takes its token nowhere else", async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = createHttpServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end("{}");
    });
    const redirecting = createHttpServer((_, response) => {
      response
        .writeHead(307, { location: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/` })
        .end();
    });
    for (const server of [elsewhere, redirecting]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      closers.push(() => server.close());
    }
    const link = linkTo(`http://127.0.0.1:${(redirecting.address() as AddressInfo).port}`);
    await expect(link.fetch(new Request(`http://compute${INFO}`))).rejects.toMatchObject({
      code: "provider_failed",
      message: expect.stringContaining("redirect"),
    });
    expect(seen).toEqual([]);
  });

  test("serves below a path as well", async () => {
    const { port } = new URL(relay.url);
    const proxy = createHttpServer((request, response) => {
      expect(request.url).toBe(`/below${INFO}`);
      const on = { port, path: request.url!.slice("/below".length), headers: request.headers };
      httpRequest(on, (answer) => {
        response.writeHead(answer.statusCode!, answer.rawHeaders);
        answer.pipe(response);
      }).end();
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    closers.push(() => proxy.close());
    const link = linkTo(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}/below`);
    expect(await (await link.fetch(new Request(`http://compute${INFO}`))).json()).toMatchObject({
      status: "ready",
    });
  });

  test("ends everything under way when it is closed", async () => {
    const link = linkTo(relay.url);
    const { run } = await sandboxOver(link);
    const waiting = expect(run("sleep 20")).rejects.toMatchObject({ code: "compute_lost" });
    setTimeout(() => link.close(1001, "the gateway stops"), 100);
    await waiting;
    await expect(link.fetch(new Request(`http://compute${INFO}`))).rejects.toMatchObject({
      code: "compute_offline",
    });
  });
});

describe("a gateway with P69_BASE_URL", () => {
  test("has the machine as a ready compute, runs on it, and finds its runs again", async () => {
    let listening = await start({
      stateDir: join(folder, "gw-state"),
      configDir: join(folder, "gw-config"),
      name: "direct-host",
    });
    const { url, token } = listening;
    const cerver = await startCerver({ relay: false, gateway: { p69BaseUrl: url, p69ApiToken: token } });
    try {
      const [compute, ...others] = await cerver.client.computes();
      expect(others).toEqual([]);
      expect(compute).toMatchObject({
        label: "direct-host",
        provider: "p69",
        kind: "direct",
        status: "ready",
      });
      expect(JSON.stringify(compute)).not.toContain(token);
      const session = await cerver.session();
      expect(await cerver.client.run(session, { code: "echo $((6*7)); exit 3" })).toMatchObject({
        status: "failed",
        result: { stdout: "42\n", exit_code: 3 },
      });
      const events = [];
      for await (const event of cerver.client.runStream(session, { code: "echo streamed" }))
        events.push(event.type);
      expect(events).toEqual(["start", "stdout", "exit"]);

      const kept = await cerver.client.startRun(session, {
        code: "sleep 3; echo kept; exit 5",
        background: true,
      });
      await expect
        .poll(async () => (await cerver.client.getRun(session, kept.run_id)).status)
        .toBe("running");
      await listening.stop({ leaveRuns: true });
      await expect
        .poll(async () => (await cerver.client.computes())[0]!.status, { timeout: 15_000 })
        .toBe("offline");
      await expect(cerver.client.run(session, { code: "true" })).rejects.toMatchObject({
        code: "compute_offline",
      });
      listening = await start({
        listen: new URL(url).port,
        stateDir: join(folder, "gw-state"),
        configDir: join(folder, "gw-config"),
        name: "direct-host",
      });
      await expect
        .poll(async () => (await cerver.client.computes())[0]!.status, { timeout: 15_000 })
        .toBe("ready");
      await expect
        .poll(async () => (await cerver.client.getRun(session, kept.run_id)).status, { timeout: 15_000 })
        .toBe("failed");
      expect(await cerver.client.getRun(session, kept.run_id)).toMatchObject({ exit_code: 5 });
      expect((await cerver.client.computes())[0]!.compute_id).toBe(compute!.compute_id);
    } finally {
      await cerver.stop();
      await listening.stop();
    }
  });

  test("cancels what its callers leave", async () => {
    const cerver = await startCerver({
      relay: false,
      gateway: { p69BaseUrl: relay.url, p69ApiToken: relay.token },
    });
    try {
      const session = await cerver.session();
      const leave = new AbortController();
      let pid = 0;
      for await (const event of cerver.client.runStream(session, { code: "sleep 30" }, leave.signal)) {
        if (event.type !== "start") continue;
        pid = event.pid!;
        break;
      }
      expect(pid).toBeGreaterThan(0);
      await expect.poll(() => isAlive(pid), { timeout: 5_000 }).toBe(false);
    } finally {
      await cerver.stop();
    }
  });

  test("starts while the machine is away, with a wrong token too, and has it offline", async () => {
    const { url, server } = await wire(relay.url);
    await new Promise((resolve) => server.close(resolve));
    for (const gateway of [
      { p69BaseUrl: url, p69ApiToken: "x" },
      { p69BaseUrl: relay.url, p69ApiToken: "wrong" },
    ]) {
      const cerver = await startCerver({ relay: false, gateway });
      try {
        expect((await cerver.client.computes())[0]).toMatchObject({ status: "offline" });
      } finally {
        await cerver.stop();
      }
    }
  });

  test("does not bring back a compute that was removed", async () => {
    const cerver = await startCerver({
      relay: false,
      gateway: { p69BaseUrl: relay.url, p69ApiToken: relay.token },
    });
    try {
      const [compute] = await cerver.client.computes();
      expect((await cerver.call("DELETE", `/v2/computes/${compute!.compute_id}`)).status).toBe(200);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(await cerver.client.computes()).toEqual([]);
    } finally {
      await cerver.stop();
    }
  });

  test("refuses an address of another machine without a token, and one that is none", async () => {
    const config = (p69BaseUrl: string) =>
      gatewayConfig({ p69BaseUrl, dataDir: folder, port: 0 }, { HOME: folder });
    await expect(
      startGateway(config("https://relay.example"), { logger: silentLogger }),
    ).rejects.toMatchObject({
      code: "invalid_request",
      message: "There is no token for the relay at https://relay.example.",
    });
    for (const url of ["ftp://x", "nonsense", "http://user:pw@x", "http://x?y=1"])
      expect(() => config(url)).toThrow(/p69BaseUrl/);
    expect(
      gatewayConfig({ dataDir: folder }, { P69_BASE_URL: "http://127.0.0.1:18081/", P69_API_TOKEN: "t" }),
    ).toMatchObject({
      p69BaseUrl: "http://127.0.0.1:18081",
      p69ApiToken: "t",
    });
  });
});

describe("cerver relay --listen", () => {
  test("says where it listens and where its token is, and prints the token only when it is asked to", async () => {
    const home = await newHome();
    try {
      const first = home.start(["relay", "--listen", "0"]);
      const [, url] = await first.prints(/Listening: (\S+)/);
      const [, file] = await first.prints(/Token: kept in (.+), as P69_API_TOKEN/);
      const token = (await readFile(file!, "utf8")).trim();
      expect(first.stdout() + first.stderr()).not.toContain(token);
      const answer = await fetch(`${url}${INFO}`, { headers: { authorization: `Bearer ${token}` } });
      expect(answer.status).toBe(200);
      first.child.kill("SIGINT");
      expect((await first.exited).code).toBe(0);
      const second = home.start(["relay", "--listen", "127.0.0.1:0", "--print-token"]);
      await second.prints(/p69_/);
      expect(second.stdout()).toBe(`${token}\n`);
      second.child.kill("SIGINT");
      await second.exited;
      const both = await home.run(["relay", "--listen", "--gateway", "http://127.0.0.1:1"]);
      expect(both).toMatchObject({
        code: expect.any(Number),
        stderr: expect.stringContaining("connects to no gateway"),
      });
      expect(both.code).not.toBe(0);
    } finally {
      await home.remove();
    }
  });
});
