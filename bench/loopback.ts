import { connect, createServer, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Child } from "./child.js";

export const LOOPBACK = "127.0.0.1";

export async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, LOOPBACK, resolve);
  });
  return (server.address() as { port: number }).port;
}

/** A port for a server that cannot choose one itself. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until `child` takes connections. False when it ended before it did. */
export async function takesConnections(child: Child, port: number, timeoutMs = 10_000): Promise<boolean> {
  const began = performance.now();
  while (child.isRunning && performance.now() - began < timeoutMs) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, LOOPBACK, () => resolve(true));
      socket.once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return true;
    await sleep(20);
  }
  return false;
}
