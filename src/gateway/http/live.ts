import type { SessionNews } from "../../protocol/news.js";
import type { News } from "../session/news.js";

/** A comment goes out after this long a silence, so that nothing on the way takes the stream for dead. */
const KEEP_ALIVE_MS = 15_000;
/** A reader that is this far behind misses news, and is told how many. In bytes. */
const MAX_BEHIND = 1024 * 1024;

/** Every event goes out when it happens: nothing on the way may keep it or put it together with others. */
export const EVENT_STREAM_HEADERS = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache, no-transform",
  "X-Accel-Buffering": "no",
};

const encoder = new TextEncoder();

/** News as server-sent events, until the reader leaves. */
export function newsStream(
  news: News,
  to: { sessionId: string } | { accountId: string },
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  let stop = () => {};
  let missed = 0;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const send = (text: string) => controller.enqueue(encoder.encode(text));
        const timer = setInterval(() => {
          if ((controller.desiredSize ?? 0) > 0) send(": keep-alive\n\n");
        }, KEEP_ALIVE_MS);
        const forget = news.listen(to, (item) => {
          if ((controller.desiredSize ?? 0) <= 0) return void missed++;
          if (missed > 0) send(frame({ type: "missed", count: missed }));
          missed = 0;
          send(frame(item));
          timer.refresh();
        });
        let isOver = false;
        stop = () => {
          if (isOver) return;
          isOver = true;
          clearInterval(timer);
          forget();
        };
        signal.addEventListener("abort", stop, { once: true });
        send(": listening\n\n");
      },
      cancel: () => stop(),
    },
    { highWaterMark: MAX_BEHIND, size: (chunk) => chunk?.byteLength ?? 0 },
  );
}

function frame(item: SessionNews): string {
  return `event: ${item.type}\ndata: ${JSON.stringify(item)}\n\n`;
}
