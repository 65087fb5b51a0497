import { type Context, Hono } from "hono";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { EVENT_STREAM_HEADERS, newsStream } from "../live.js";

/** `GET /v2/events` and `/v2/sessions/:id/events`: what happens, while it happens, as server-sent events. */
export function eventRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  return new Hono<{ Variables: AccountVariables }>()
    .get("/events", read, (c) => {
      const { accountId } = c.var.principal;
      return events(c, newsStream(sessions.news, { accountId }, c.req.raw.signal));
    })
    .get("/sessions/:id/events", read, async (c) => {
      const session = await sessions.open(c.var.principal.accountId, c.req.param("id"));
      return events(c, newsStream(sessions.news, { sessionId: session.id }, c.req.raw.signal));
    });
}

function events(c: Context, body: ReadableStream<Uint8Array>): Response {
  return c.body(body, 200, EVENT_STREAM_HEADERS);
}
