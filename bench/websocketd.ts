import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { Child } from "./child.js";
import { Absent, type Command, type Contender, check, type Lane } from "./contender.js";
import type { Endings } from "./endings.js";
import { environment } from "./environment.js";
import { FrameReader } from "./frame-reader.js";
import { freePort, LOOPBACK, takesConnections } from "./loopback.js";
import { programFile } from "./program-file.js";

/** websocketd: a server for each command, and a connection for each run, which is how it works. */
export class Websocketd implements Contender {
  readonly #endings: Endings;
  readonly #program: string;
  readonly #ports = new Map<string, Promise<number>>();

  private constructor(endings: Endings, program: string) {
    this.#endings = endings;
    this.#program = program;
  }

  static async start(endings: Endings): Promise<Websocketd | Absent> {
    const program = programFile("websocketd");
    return program ? new Websocketd(endings, program) : new Absent("not installed");
  }

  async lanes(command: Command, count: number): Promise<Lane[]> {
    const port = await this.#serve(command.shell);
    return Array.from({ length: count }, () => async () => {
      let text = "";
      await readAll(port, (payload) => (text += payload));
      check(command, text);
    });
  }

  async cat(file: string): Promise<number> {
    const port = await this.#serve(`exec cat '${file}'`);
    let bytes = 0;
    await readAll(port, (payload) => (bytes += payload.length));
    return bytes;
  }

  #serve(script: string): Promise<number> {
    let port = this.#ports.get(script);
    if (!port) {
      port = this.#start(script);
      this.#ports.set(script, port);
    }
    return port;
  }

  async #start(script: string): Promise<number> {
    const port = await freePort();
    const flags = [`--address=${LOOPBACK}`, `--port=${port}`, "--binary", "--loglevel=error"];
    const server = new Child(this.#endings, this.#program, [...flags, "/bin/sh", "-c", script], {
      env: environment(),
    });
    if (!(await takesConnections(server, port))) throw new Error(`websocketd: ${server.lastWord}`);
    return port;
  }
}

/** Opens a websocket, and reads it to its end on a plain socket. */
function readAll(port: number, onPayload: (payload: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: LOOPBACK, port, noDelay: true });
    const frames = new FrameReader({
      payload: onPayload,
      close: () => {
        // The answer to a close frame: an empty one, masked as a client's frames are.
        socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
        resolve();
      },
    });
    socket.write(
      [
        "GET / HTTP/1.1",
        `Host: ${LOOPBACK}:${port}`,
        "Upgrade: websocket",
        "Connection: Upgrade",
        `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
        "Sec-WebSocket-Version: 13",
        "\r\n",
      ].join("\r\n"),
    );
    let head: Buffer | undefined = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      if (!head) return frames.push(chunk);
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const answer = head.toString("latin1", 0, end);
      if (!answer.startsWith("HTTP/1.1 101")) return socket.destroy(new Error(`websocketd: ${answer}`));
      frames.push(head.subarray(end + 4));
      head = undefined;
    });
    socket.on("error", reject);
    // websocketd ends a run by closing the connection, some versions without a close frame.
    socket.on("end", () =>
      head || frames.isWithinFrame ? reject(new Error("websocketd broke a connection off")) : resolve(),
    );
  });
}
