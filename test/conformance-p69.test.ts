import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { DirectLink } from "../src/gateway/compute/direct-link.js";
import { p69Provider } from "../src/gateway/compute/providers/p69.js";
import { relayConfig } from "../src/relay/config.js";
import { startListening } from "../src/relay/start.js";
import { Channel } from "../src/tunnel/channel.js";
import { TunnelHub } from "../src/tunnel/hub.js";
import { wsSocket } from "../src/tunnel/ws-socket.js";
import { silentLogger } from "../src/util/logger.js";
import { openCompute } from "./compute.js";
import { describeProvider, type OpenTarget } from "./provider-conformance.js";

const COMPUTE_ID = "cmp_conformance";

/** This host as a compute behind a real websocket, as a gateway reaches it. */
async function openTunnel(): Promise<OpenTarget> {
  const folder = await mkdtemp(join(tmpdir(), "cerver-conformance-"));
  const compute = await openCompute(join(folder, "state"), { HOME: folder }, { maxRuns: 32 });
  const hub = new TunnelHub();
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  const common = { level: 2, logger: silentLogger, software: "cerver/test" } as const;
  const attached = new Promise<void>((resolve) => {
    server.on("connection", (ws) => {
      hub.attach(COMPUTE_ID, new Channel({ ...common, socket: wsSocket(ws), side: "gateway" }));
      resolve();
    });
  });
  await new Promise((resolve) => server.once("listening", resolve));
  const ws = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const relay = new Channel({
    ...common,
    socket: wsSocket(ws),
    side: "relay",
    serve: async (request) => compute.app.fetch(request),
    serveSmall: compute.app.serveSmall,
  });
  await attached;
  return {
    target: {
      adapter: p69Provider(
        (id, request) => hub.fetch(id, request),
        (id, call) => hub.call(id, call),
      ),
      computeId: COMPUTE_ID,
      credentials: {},
    },
    close: async () => {
      relay.close();
      hub.close();
      await new Promise((resolve) => server.close(resolve));
      await compute.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** This host as a compute that listens, as a gateway with P69_BASE_URL reaches it. */
async function openDirect(): Promise<OpenTarget> {
  const folder = await mkdtemp(join(tmpdir(), "cerver-conformance-"));
  const relay = await startListening(
    relayConfig(
      {
        listen: "0",
        maxRuns: 32,
        graceMs: 300,
        stateDir: join(folder, "state"),
        configDir: join(folder, "config"),
      },
      { PATH: process.env.PATH, HOME: folder },
    ),
    { hasDisplay: false, logger: silentLogger },
  );
  const link = new DirectLink({ baseUrl: relay.url, token: relay.token });
  return {
    target: {
      adapter: p69Provider(
        (_, request) => link.fetch(request),
        (_, call) => link.call(call),
      ),
      computeId: COMPUTE_ID,
      credentials: {},
    },
    close: async () => {
      link.close();
      await relay.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describeProvider("p69 tunnel", openTunnel);
describeProvider("p69 direct", openDirect);
