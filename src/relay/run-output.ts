import type { StreamName } from "./keeper/messages.js";
import type { Follow, KeeperClient } from "./keeper-client.js";

/** This much waits for the reader before the keeper is asked to wait. */
const HIGH_WATER_BYTES = 512 * 1024;

export interface OutputWish {
  runId: string;
  stream: StreamName;
  from: number;
  /** The first byte that is not wanted; the end of what there is now when left out. */
  until: number | undefined;
  signal: AbortSignal;
}

/**
 * The bytes of one output stream as they are, from the first wanted one that is still kept.
 *
 * `x-cerver-output-from` says which that is and `x-cerver-output-bytes` how many there were in all.
 */
export async function outputStream(keeper: KeeperClient, wish: OutputWish): Promise<Response> {
  const { runId, stream, signal } = wish;
  const [state] = await keeper.states([runId]);
  const total = state ? (stream === "stdout" ? state.stdout_bytes : state.stderr_bytes) : 0;
  const until = Math.min(wish.until ?? total, total);
  const from = Math.min(wish.from, until);
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let follow: Follow | undefined;
  let unread = 0;
  let over = false;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (given) => {
        controller = given;
      },
      pull: () => {
        const bytes = unread;
        unread = 0;
        if (bytes > 0) follow?.read(bytes);
      },
      cancel: () => {
        over = true;
        follow?.stop("gone");
      },
    },
    { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 },
  );
  /** The first byte there is: bytes before it were dropped. Known with the first piece. */
  const first = new Promise<number>((resolve, reject) => {
    let dropped = from;
    keeper
      .follow(
        runId,
        { offsets: { stdout: from, stderr: from }, only: stream, until },
        {
          output(_stream, offset, bytes) {
            resolve(offset);
            if (over) return;
            controller.enqueue(bytes);
            unread += bytes.length;
            if ((controller.desiredSize ?? 0) <= 0) return;
            follow?.read(unread);
            unread = 0;
          },
          gap(_stream, offset, bytes) {
            dropped = offset + bytes;
            // Bytes that vanish in the middle of a body that promises them can only break it.
            if (offset === from || over) return;
            over = true;
            controller.error(new Error("output was dropped while it was read"));
            follow?.stop("gone");
          },
          end() {
            resolve(dropped);
            if (!over) controller.close();
            over = true;
          },
          broken(error) {
            reject(error);
            if (!over) controller.error(error);
            over = true;
          },
        },
      )
      .then((opened) => {
        follow = opened;
        if (over) follow.stop("gone");
      }, reject);
  });
  const onAbort = () => {
    over = true;
    follow?.stop("gone");
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const at = await first;
  return new Response(body, {
    headers: {
      "content-type": "application/octet-stream",
      "x-cerver-output-from": String(at),
      "x-cerver-output-until": String(until),
      "x-cerver-output-bytes": String(total),
    },
  });
}
