import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatewayConfig } from "../../src/gateway/config.js";
import { startGateway } from "../../src/gateway/start.js";
import { McpEndpoint } from "../../src/mcp/http.js";
import { silentLogger } from "../../src/util/logger.js";
import { startCerver } from "../harness.js";
import { createFixture } from "./fixture.js";

/**
 * What the conformance suite is run against, until stdin ends. The first line has two addresses: of a gateway without
 * tokens whose `/mcp` carries the suite's own tools, and of a gateway as people have it, its token added on the way.
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
console.log(`${fixture.url}/mcp http://127.0.0.1:${port}/mcp`);

for await (const _ of process.stdin);
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
