import { connect, createServer } from "node:net";
import type { Endings } from "./endings.js";
import { LOOPBACK, listen } from "./loopback.js";

interface Passed {
  at: number;
  bytes: number;
  /** Whether the connection became a websocket. */
  isLink: boolean;
}

/** Passes on what a relay and a gateway say to each other, and counts it exactly. */
export class CountingProxy {
  readonly #passed: Passed[] = [];

  /** Begins to listen; gives its port. */
  async start(endings: Endings, targetPort: number): Promise<number> {
    const server = createServer((relay) => {
      const gateway = connect({ host: LOOPBACK, port: targetPort, noDelay: true });
      relay.setNoDelay(true);
      let isLink = false;
      relay.once("data", (chunk: Buffer) => {
        isLink = /\r\nupgrade: *websocket\r\n/i.test(chunk.toString("latin1"));
      });
      for (const [from, to] of [
        [relay, gateway],
        [gateway, relay],
      ] as const) {
        from.on("data", (chunk: Buffer) =>
          this.#passed.push({ at: performance.now(), bytes: chunk.length, isLink }),
        );
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
      endings.add(() => relay.destroy());
    });
    const port = await listen(server);
    endings.add(() => server.close());
    return port;
  }

  /** What passed in the last so many milliseconds, both ways together. Bytes of TCP payload. */
  bytesInLast(ms: number): { link: number; http: number } {
    const since = performance.now() - ms;
    const sum = (isLink: boolean) =>
      this.#passed
        .filter((passed) => passed.at >= since && passed.isLink === isLink)
        .reduce((total, { bytes }) => total + bytes, 0);
    return { link: sum(true), http: sum(false) };
  }
}
