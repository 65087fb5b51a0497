import { type Context, Hono } from "hono";
import {
  ChangeComputeRequest,
  CreateSessionRequest,
  PauseRequest,
  ResumeRequest,
  StatusRequest,
} from "../../../protocol/sessions.js";
import type { Sessions } from "../../session/sessions.js";
import { whyAwake } from "../../session/why-awake.js";
import { type AccountVariables, callerOf, requireScope } from "../auth.js";
import { json } from "../validate.js";

/** The life of one session, below `/v2/sessions/:id`: rest, move, spawn, and why it is as it is. */
export function sessionLifeRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  const run = requireScope("run");
  const load = (c: Context<{ Variables: AccountVariables }>) =>
    sessions.get(c.var.principal.accountId, c.req.param("id") as string);
  return (
    new Hono<{ Variables: AccountVariables }>()
      .post("/pause", run, json(PauseRequest), async (c) =>
        c.json(await sessions.life.pause(await load(c), c.req.valid("json"), "asked for")),
      )
      .post("/resume", run, json(ResumeRequest), async (c) => {
        const session = await load(c);
        const moved = await sessions.life.resume(session, c.req.valid("json"), c.req.raw.signal);
        sessions.activity.note(session.id, "resume", callerOf(c));
        return c.json(moved);
      })
      .post("/compute", run, json(ChangeComputeRequest), async (c) =>
        c.json(await sessions.life.changeCompute(await load(c), c.req.valid("json"), c.req.raw.signal)),
      )
      // What the public clients call it.
      .post("/change-compute", run, json(ChangeComputeRequest), async (c) =>
        c.json(await sessions.life.changeCompute(await load(c), c.req.valid("json"), c.req.raw.signal)),
      )
      .post("/spawn", run, json(CreateSessionRequest), async (c) =>
        c.json(await sessions.spawn(await load(c), c.req.valid("json"), c.req.raw.signal), 201),
      )
      .post("/status", run, json(StatusRequest), async (c) => {
        const session = await load(c);
        const { status, end_reason } = c.req.valid("json");
        await sessions.setStatus(session, status, end_reason);
        return c.json({ success: true, session_id: session.id });
      })
      .get("/routing", read, async (c) => c.json(sessions.routing(await load(c))))
      .get("/why", read, async (c) => c.json(await whyAwake(await load(c), sessions)))
      .get("/cost", read, async (c) => c.json(await sessions.costs.ofSession(await load(c))))
  );
}
