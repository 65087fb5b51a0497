import { type Context, Hono } from "hono";
import { type StressEvent, StressTestRequest } from "../../../protocol/stress-tests.js";
import type { StressTests } from "../../session/stress/stress-tests.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { EVENT_STREAM_HEADERS } from "../live.js";
import { json } from "../validate.js";

const KEEP_ALIVE_MS = 15_000;
const encoder = new TextEncoder();

/** `/gateway/stress-tests` and `/v2/stress-tests`: providers compared, by what is known of them or by real sandboxes. */
export function stressTestRoutes({ stressTests }: { stressTests: StressTests }) {
  const read = requireScope("read");
  const run = requireScope("run");
  const stream = async (c: Context<{ Variables: AccountVariables }>, id: string) =>
    c.body(
      await events(stressTests, c.var.principal.accountId, id, c.req.raw.signal),
      200,
      EVENT_STREAM_HEADERS,
    );
  return new Hono<{ Variables: AccountVariables }>()
    .post("/", run, json(StressTestRequest), async (c) => {
      const { accountId } = c.var.principal;
      const report = await stressTests.begin(accountId, c.req.valid("json"));
      if (/text\/event-stream/i.test(c.req.header("accept") ?? "")) return stream(c, report.stress_test_id);
      return c.json(report, report.status === "running" ? 202 : 200);
    })
    .get("/", read, async (c) => c.json(await stressTests.list(c.var.principal.accountId)))
    .get("/:id", read, async (c) =>
      c.json(await stressTests.get(c.var.principal.accountId, c.req.param("id"))),
    )
    .get("/:id/events", read, (c) => stream(c, c.req.param("id")))
    .delete("/:id", run, async (c) =>
      c.json(await stressTests.cancel(c.var.principal.accountId, c.req.param("id"))),
    );
}

/** A test's progress as server-sent events; its report is the last. Leaving does not end the test. */
async function events(
  stressTests: StressTests,
  accountId: string,
  id: string,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let leave = () => {};
  let isOver = false;
  const timer = setInterval(() => controller.enqueue(encoder.encode(": keep-alive\n\n")), KEEP_ALIVE_MS);
  const end = () => {
    isOver = true;
    clearInterval(timer);
    leave();
  };
  const body = new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given;
    },
    cancel: end,
  });
  const tell = (event: StressEvent) => {
    if (isOver) return;
    controller.enqueue(encoder.encode(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`));
    if (event.type !== "report") return;
    end();
    controller.close();
  };
  try {
    const forget = await stressTests.listen(accountId, id, tell);
    if (isOver) forget();
    else leave = forget;
  } catch (error) {
    end();
    throw error;
  }
  signal.addEventListener("abort", end, { once: true });
  return body;
}
