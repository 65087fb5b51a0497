import { FollowedBody } from "./followed-body.js";
import type { StreamName } from "./keeper/messages.js";
import type { FollowHandlers, KeeperClient } from "./keeper-client.js";

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
  const body = new FollowedBody(HIGH_WATER_BYTES);
  /** The first byte there is: bytes before it were dropped. Known with the first piece. */
  const first = new Promise<number>((resolve, reject) => {
    let kept = from;
    const handlers: FollowHandlers = {
      output(_stream, offset, bytes) {
        resolve(offset);
        body.give(bytes, bytes.length);
      },
      gap(_stream, offset, bytes) {
        // Bytes that vanish in the middle of a body that promises them can only break it.
        if (offset > from) body.fail(new Error("output was dropped while it was read"));
        kept = offset + bytes;
      },
      end() {
        resolve(kept);
        body.end();
      },
      broken(error) {
        reject(error);
        body.fail(error);
      },
    };
    const wanted = { offsets: { stdout: from, stderr: from }, only: stream, until };
    keeper.follow(runId, wanted, handlers).then((follow) => body.fedBy(follow), reject);
  });
  signal.addEventListener("abort", () => body.leave("gone"), { once: true });
  const at = await first;
  return new Response(body.stream, {
    headers: {
      "content-type": "application/octet-stream",
      "x-cerver-output-from": String(at),
      "x-cerver-output-until": String(until),
      "x-cerver-output-bytes": String(total),
    },
  });
}
