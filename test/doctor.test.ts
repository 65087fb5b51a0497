import { execFileSync } from "node:child_process";
import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  request as requestHttp,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { DoctorReport } from "../src/protocol/doctor.js";
import { SmallDisk } from "./faults/small-disk.js";
import { startCerver } from "./harness.js";
import { type Home, newHome, type Started } from "./run-cerver.js";

const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");

let home: Home;
let endings: (() => Promise<unknown> | unknown)[];
beforeEach(async () => {
  home = await newHome();
  endings = [];
});
afterEach(async () => {
  for (const end of endings.reverse()) await end();
  await home.remove();
});

/** A gateway and this machine, together: the real program in a home of its own. */
async function up(env?: Record<string, string>): Promise<{ url: string; token: string; up: Started }> {
  const started = home.start(["up", "--json", "--port", "0"], env);
  const [, json] = await started.prints(/^(\{.*\})$/m);
  const { gateway_url: url, api_token: token } = JSON.parse(json!);
  await expect.poll(async () => (await clientOf(url, token).computes())[0]?.status).toBe("ready");
  return { url, token, up: started };
}

const clientOf = (gatewayUrl: string, token: string) => new GatewayClient({ gatewayUrl, token });

/** What the doctor says, by the name of each check. */
async function doctor(args: string[] = [], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await home.run(["doctor", "--json", ...args], { env });
  expect(stderr).toBe("");
  const { healthy, checks } = DoctorReport.parse(JSON.parse(stdout));
  expect(code).toBe(healthy ? 0 : 1);
  expect(healthy).toBe(!checks.some(({ status }) => status === "fail"));
  // What is wrong always comes with what to do.
  for (const one of checks)
    if (one.status === "fail" || one.status === "warn") expect(one.fix, one.name).toMatch(/./);
  return {
    healthy,
    stdout,
    names: checks.map(({ name }) => name),
    failed: checks.filter(({ status }) => status === "fail").map(({ name }) => name),
    of: (name: string) => checks.find((one) => one.name === name),
  };
}

async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endings.push(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** Passes requests on to the gateway, and changes the headers of its answers. */
const passOn =
  (gatewayUrl: string, more: () => Record<string, string> = () => ({})) =>
  (request: IncomingMessage, response: ServerResponse) => {
    const { connection: _, upgrade: __, ...headers } = request.headers;
    const onward = requestHttp(gatewayUrl + request.url, { method: request.method, headers });
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode!, { ...answer.headers, ...more() });
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  };

describe("a healthy machine", () => {
  test("has nothing that failed, and its run came back through the gateway", async () => {
    const { url, token } = await up();
    const bin = join(home.folder, "bin");
    await mkdir(bin);
    await symlink(BIN, join(bin, "cerver"));

    const report = await doctor([], { PATH: `${bin}:${home.env.PATH}` });

    expect(report.failed).toEqual([]);
    for (const name of [
      ...["node", "path", "disk", "login", "proxy", "connection", "gateway", "websocket", "clock", "token"],
      ...["relay", "compute", "echo", "redaction"],
    ])
      expect(report.of(name), name).toMatchObject({ status: "ok" });
    for (const name of ["mcp clients", "keychain"]) expect(report.of(name)!.status).toBe("skipped");
    expect(report.of("service")).toMatchObject({
      status: "skipped",
      what: expect.stringContaining("`cerver relay service install`"),
    });
    expect(report.of("token")!.what).toBe("accepted, with the scope admin; it does not expire");
    expect(report.of("path")!.what).toBe(join(bin, "cerver"));
    expect(report.stdout).not.toContain(token);

    const { sessions } = await clientOf(url, token).sessions();
    expect(sessions).toHaveLength(1);
    expect(sessions[0]?.status).toBe("ended");
  });

  test("is told as a table, in the order of the JSON, with colours for a terminal that wants them", async () => {
    await up();
    const { names } = await doctor();
    const plain = await home.run(["doctor"], { env: { FORCE_COLOR: "1", NO_COLOR: "1" } });
    expect(plain.code).toBe(0);
    expect(plain.stdout).not.toContain("\u001b");
    const rows = plain.stdout.matchAll(/^(?:ok|warn|fail|skipped) +(\S+(?: \S+)*?) {2,}\S/gm);
    expect([...rows].map(([, name]) => name)).toEqual(names);
    expect(plain.stdout).toMatch(/\nHealthy: 18 checks, 0 failed, \d with a warning\.\n$/);

    const coloured = await home.run(["doctor"], { env: { FORCE_COLOR: "1" } });
    expect(coloured.stdout).toContain("\u001b[32mok     \u001b[39m");
  });

  test("that redacts nothing is told so", async () => {
    await up({ CERVER_REDACT: "off" });
    const report = await doctor();
    expect(report.failed).toEqual([]);
    expect(report.of("redaction")).toMatchObject({
      status: "warn",
      what: "nothing is taken out of what runs print",
    });
  });
});

describe("what is broken", () => {
  test("an empty home has no login, and says how to get one", async () => {
    const report = await doctor(["--gateway", "http://127.0.0.1:9"]);
    expect(report.failed).toEqual(["login", "connection"]);
    expect(report.of("login")!.fix).toContain("cerver login --gateway http://127.0.0.1:9");
    expect(report.of("connection")!.what).toContain("ECONNREFUSED");
    expect(report.of("token")!.status).toBe("skipped");
    expect(report.of("relay")!.status).toBe("skipped");
  });

  test("a name that DNS does not know, and an address that is none", async () => {
    const unknown = await doctor(["--gateway", "https://cerver.invalid"]);
    expect(unknown.of("connection")).toMatchObject({ status: "fail" });
    expect(unknown.of("connection")!.what).toContain("DNS does not know cerver.invalid");

    const none = await doctor(["--gateway", "https://me:hunter2@cerver.invalid"]);
    expect(none.failed).toContain("connection");
    expect(none.stdout).not.toContain("hunter2");
  });

  test("a gateway that has ended, and with it the relay", async () => {
    const { up: started } = await up();
    started.child.kill("SIGINT");
    await started.exited;
    const report = await doctor();
    expect(report.failed).toEqual(["connection", "relay"]);
    expect(report.of("relay")!.fix).toMatch(/^cerver relay --gateway http/);
    expect(report.of("echo")).toMatchObject({
      status: "skipped",
      what: 'it needs "connection", which failed',
    });
  });

  test("a token that is wrong, and one that has expired", async () => {
    const { url, token } = await up();
    const wrong = token.replace(/.{8}$/, "00000000");
    for (const given of [wrong, await expired(url, token)]) {
      const report = await doctor(["--gateway", url], { CERVER_API_TOKEN: given });
      expect(report.failed).toEqual(["token"]);
      expect(report.of("token")!.what).toContain("wrong, expired or revoked");
      expect(report.of("token")!.fix).toBe(
        `unset CERVER_API_TOKEN CERVER_API_KEY; cerver login --gateway ${url}`,
      );
      expect(report.of("echo")!.status).toBe("skipped");
      expect(report.stdout).not.toContain(given);
    }
  });

  test("a token that ends soon, or may not run", async () => {
    const { url, token } = await up();
    const { key } = await clientOf(url, token).createKey({ label: "", scopes: ["read"], expires_in: 3600 });
    const report = await doctor(["--gateway", url], { CERVER_API_TOKEN: key });
    expect(report.of("token")).toMatchObject({ status: "warn" });
    expect(report.of("token")!.what).toMatch(/with the scope read; it ends on .* UTC, soon$/);
    expect(report.failed).toEqual(["echo"]);
    expect(report.of("echo")!.what).toContain("needs run");
  });

  test("a relay that stands still is offline for the gateway, though its process is there", async () => {
    const cerver = await startCerver({ relay: false });
    endings.push(() => cerver.stop());
    const { url } = cerver.gateway;
    const { token } = cerver;
    const relay = home.start(["relay", "--gateway", url], { CERVER_API_TOKEN: token });
    await relay.prints(/Connected\./);
    relay.child.kill("SIGSTOP");
    endings.push(() => relay.child.kill("SIGCONT"));
    await expect
      .poll(async () => (await clientOf(url, token).computes())[0]?.status, {
        timeout: 40_000,
        interval: 500,
      })
      .toBe("offline");
    const report = await doctor(["--gateway", url], { CERVER_API_TOKEN: token });
    expect(report.failed).toEqual(["compute"]);
    expect(report.of("compute")!.what).toContain("as offline, though its relay runs");
  }, 60_000);

  test("a compute that was removed", async () => {
    const { url, token } = await up();
    const [compute] = await clientOf(url, token).computes();
    const id = compute!.compute_id;
    const file = join(home.folder, ".config/cerver/computes.json");
    await writeFile(file, (await readFile(file, "utf8")).replace(id, "cmp_00000000000000000000000000000000"));
    const report = await doctor();
    expect(report.failed).toEqual(["compute"]);
    expect(report.of("compute")!.what).toContain("has no compute cmp_0000");
  });

  test.each([
    [-40 * 60_000, "fail", /^this machine's clock is 40 min ahead of the gateway's$/],
    [90_000, "warn", /^this machine's clock is (?:89|90|91) s behind the gateway's$/],
  ])("a clock that is %i ms off", async (offMs, status, words) => {
    const { url, token } = await up();
    const date = () => ({ date: new Date(Date.now() + offMs).toUTCString() });
    const port = await listening(createServer(passOn(url, date)));
    const report = await doctor(["--gateway", `http://127.0.0.1:${port}`], { CERVER_API_TOKEN: token });
    expect(report.of("clock")).toMatchObject({ status, what: expect.stringMatching(words) });
  });

  test("a proxy that takes the Upgrade header away", async () => {
    const { url, token } = await up();
    const port = await listening(createServer(passOn(url)));
    const report = await doctor(["--gateway", `http://127.0.0.1:${port}`], { CERVER_API_TOKEN: token });
    expect(report.of("gateway")!.status).toBe("ok");
    expect(report.of("websocket")).toMatchObject({
      status: "warn",
      what: expect.stringContaining("a proxy took its Upgrade header away"),
    });
    expect(report.of("websocket")!.fix).toContain("proxy_set_header Upgrade");
  });

  test("a certificate that nobody has signed, until its authority is named", async () => {
    const { url, token } = await up();
    const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(home.folder, name)) as [string, string];
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"],
        ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
      ],
      { stdio: "ignore" },
    );
    const port = await listening(
      createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, passOn(url)),
    );
    const gateway = `https://127.0.0.1:${port}`;
    const env = { CERVER_API_TOKEN: token };

    const report = await doctor(["--gateway", gateway], env);
    expect(report.failed).toEqual(["connection"]);
    expect(report.of("connection")!.what).toContain("DEPTH_ZERO_SELF_SIGNED_CERT");
    expect(report.of("connection")!.fix).toContain("NODE_EXTRA_CA_CERTS");

    const known = await doctor(["--gateway", gateway], { ...env, NODE_EXTRA_CA_CERTS: cert });
    expect(known.of("connection")).toMatchObject({ status: "ok" });
    expect(known.of("connection")!.what).toMatch(/with TLSv1\.3 .*; its certificate ends on \d{4}-/);
    expect(known.of("token")!.status).toBe("ok");
  });

  test("a port that takes connections and says nothing holds nobody for longer than its time", async () => {
    const port = await listening(
      createTcpServer((socket) => {
        socket.on("error", () => {});
        endings.push(() => socket.destroy());
      }),
    );
    const since = performance.now();
    const report = await doctor(["--gateway", `http://127.0.0.1:${port}`], { CERVER_API_TOKEN: "ck_x" });
    expect(performance.now() - since).toBeLessThan(12_000);
    expect(report.failed).toEqual(["gateway", "websocket", "clock", "token"]);
    expect(report.of("gateway")!.what).toContain("no answer within 5 s");
    const tls = await doctor(["--gateway", `https://127.0.0.1:${port}`], { CERVER_API_TOKEN: "ck_x" });
    expect(tls.failed).toEqual(["connection"]);
    expect(tls.of("connection")!.what).toContain("does not answer");
  });

  test("another program where the gateway should be", async () => {
    const port = await listening(createServer((_, response) => response.end("<html>hello</html>")));
    const report = await doctor(["--gateway", `http://127.0.0.1:${port}`], { CERVER_API_TOKEN: "ck_x" });
    expect(report.failed).toEqual(["gateway", "websocket", "token"]);
    expect(report.of("gateway")!.what).toContain("is no healthy cerver gateway (HTTP 200");
  });

  test("a full state folder, and one that can be no folder", async ({ skip }) => {
    await writeFile(join(home.folder, "a file"), "");
    const blocked = await doctor([], { XDG_STATE_HOME: join(home.folder, "a file") });
    expect(blocked.of("disk")).toMatchObject({ status: "fail" });
    expect(blocked.of("disk")!.what).toContain("cannot be written (ENOTDIR)");

    const disk = await SmallDisk.mount(4);
    if ("why" in disk) return skip(disk.why);
    endings.push(() => disk.unmount());
    const env = { XDG_STATE_HOME: disk.folder };
    await mkdir(join(disk.folder, "cerver"));
    expect((await doctor([], env)).of("disk")!.what).toMatch(/^only \d MiB free/);
    await disk.fill();
    expect((await doctor([], env)).of("disk")!.what).toContain("is full (ENOSPC)");
  });

  test("a state folder that may only be read", async ({ skip }) => {
    if (process.getuid?.() === 0) {
      // Root may write wherever the file system lets anybody, so it has to be the file system that refuses.
      const disk = await SmallDisk.mount(4);
      if ("why" in disk) return skip(disk.why);
      endings.push(() => disk.unmount());
      await mkdir(join(disk.folder, "cerver"));
      execFileSync("mount", ["-o", "remount,ro", disk.folder]);
      const report = await doctor([], { XDG_STATE_HOME: disk.folder });
      expect(report.of("disk")!.what).toContain("cannot be written (EROFS)");
      return;
    }
    const folder = join(home.folder, "state", "cerver");
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o500);
    const report = await doctor([], { XDG_STATE_HOME: join(home.folder, "state") });
    expect(report.of("disk")!.what).toContain("cannot be written (EACCES)");
  });

  test("a PATH without cerver, and one that leads to another", async () => {
    const bin = join(home.folder, "bin");
    const gateway = ["--gateway", "http://127.0.0.1:9"];
    await mkdir(bin);
    const without = await doctor(gateway, { PATH: bin });
    expect(without.of("path")).toMatchObject({ status: "warn" });
    expect(without.of("path")!.fix).toContain(`ln -s '${BIN}'`);

    await writeFile(join(bin, "cerver"), "#!/bin/sh\n", { mode: 0o755 });
    const other = await doctor(gateway, { PATH: bin });
    expect(other.of("path")!.what).toContain(`PATH leads to another cerver, ${join(bin, "cerver")}`);
  });

  test("proxy variables, whose values are not shown", async () => {
    const env = { HTTPS_PROXY: "http://me:hunter2@proxy:3128" };
    const report = await doctor(["--gateway", "https://cerver.invalid"], env);
    expect(report.of("proxy")).toMatchObject({
      status: "warn",
      what: expect.stringContaining("HTTPS_PROXY"),
    });
    expect(report.stdout).not.toContain("hunter2");
    const exempt = await doctor(["--gateway", "https://cerver.invalid"], { ...env, NO_PROXY: ".invalid" });
    expect(exempt.of("proxy")!.status).toBe("ok");
  });

  test("an MCP client that starts what is not there, and one whose settings are damaged", async () => {
    const installed = await home.run(["mcp", "install", "--client", "claude-code", "--yes"]);
    expect(installed.code).toBe(0);
    const fine = await doctor(["--gateway", "http://127.0.0.1:9"]);
    expect(fine.of("mcp clients")).toMatchObject({ status: "ok", what: "Claude Code can start cerver" });

    const file = join(home.folder, ".claude.json");
    await writeFile(file, (await readFile(file, "utf8")).replace(BIN, "/gone/cerver.js"));
    // A name is whatever stands in a file, and no part of a command.
    const { mcpServers } = JSON.parse(await readFile(file, "utf8"));
    const odd = { ...mcpServers, "x; touch y": mcpServers.cerver };
    await writeFile(file, JSON.stringify({ mcpServers: odd }));
    await mkdir(join(home.folder, ".cursor"));
    await writeFile(join(home.folder, ".cursor", "mcp.json"), "{");
    const report = await doctor(["--gateway", "http://127.0.0.1:9"]);
    expect(report.of("mcp clients")).toMatchObject({ status: "warn" });
    expect(report.of("mcp clients")!.what).toContain(
      "Claude Code starts /gone/cerver.js, which is not there",
    );
    expect(report.of("mcp clients")!.what).toContain("mcp.json");
    expect(report.of("mcp clients")!.fix).toContain("cerver mcp install --client claude-code");
    expect(report.of("mcp clients")!.fix).not.toContain("touch y");
  });

  test("credentials that are damaged", async () => {
    await mkdir(join(home.folder, ".config", "cerver"), { recursive: true });
    await writeFile(join(home.folder, ".config", "cerver", "credentials.json"), "{");
    const report = await doctor(["--gateway", "http://127.0.0.1:9"]);
    expect(report.of("login")).toMatchObject({ status: "fail", what: expect.stringContaining("is damaged") });
  });
});

async function expired(url: string, token: string): Promise<string> {
  const { key } = await clientOf(url, token).createKey({ label: "", scopes: ["run"], expires_in: 1 });
  const whoami = () =>
    clientOf(url, key)
      .whoami()
      .then(
        () => "accepted",
        ({ code }) => code,
      );
  await expect.poll(whoami, { timeout: 5_000 }).toBe("unauthenticated");
  return key;
}
