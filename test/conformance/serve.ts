import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { gatewayConfig } from "../../src/gateway/config.js";
import { startGateway } from "../../src/gateway/start.js";
import { McpEndpoint } from "../../src/mcp/http.js";
import { silentLogger } from "../../src/util/logger.js";
import { startCerver } from "../harness.js";
import { press, signInByHttp } from "../oauth-flow.js";
import { createFixture } from "./fixture.js";

/**
 * What the conformance suite is run against, until stdin ends. The first line says where: a gateway without tokens whose
 * `/mcp` carries the suite's own tools; a gateway as people have it, its token added on the way; that gateway as an
 * authorization server, an OAuth client it knows, and a free port for that client. Each line of stdin is an address that a
 * person who is signed in opens, to approve what it asks for.
 */
const folder = await mkdtemp(join(tmpdir(), "cerver-conformance-"));
const fixture = await startGateway(
  gatewayConfig({ port: 0, dataDir: folder, noAuth: true }, { HOME: folder }),
  {
    logger: silentLogger,
    mcp: async () => {
      const endpoint: McpEndpoint<{ id: string }> = new McpEndpoint({
        idOf: ({ id }) => id,
        serve: () => createFixture(() => endpoint.notify),
      });
      return endpoint;
    },
  },
);
const cerver = await startCerver();
const proxy = await addToken(cerver.gateway.url, cerver.token);
const { port } = proxy.address() as AddressInfo;
const mcp = [fixture.url, `http://127.0.0.1:${port}`].map((url) => `${url}/mcp`);
console.log(...mcp, cerver.gateway.url, await registerClient(cerver.gateway.url), await freePort());

const cookie = await signInByHttp(cerver);
for await (const address of createInterface({ input: process.stdin })) {
  const { to } = await press(address, cookie);
  if (to) await fetch(to);
}
proxy.close();
proxy.closeAllConnections();
await Promise.all([fixture.stop(), cerver.stop()]);
await rm(folder, { recursive: true, force: true });

/** The suite sends no header of ours; everything else, Host and Origin too, arrives as it was sent. */
async function addToken(url: string, token: string): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    const { method, headers } = incoming;
    const upstream = request(new URL(incoming.url!, url), {
      method: method!,
      headers: { ...headers, authorization: `Bearer ${token}` },
    });
    upstream.on("response", (response) => {
      outgoing.writeHead(response.statusCode!, response.headers);
      outgoing.flushHeaders();
      response.pipe(outgoing);
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function registerClient(url: string): Promise<string> {
  const answer = await fetch(`${url}/oauth/register`, {
    method: "POST",
    body: JSON.stringify({ client_name: "conformance", redirect_uris: ["http://127.0.0.1/callback"] }),
  });
  return ((await answer.json()) as { client_id: string }).client_id;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
