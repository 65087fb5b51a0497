import { type Context, Hono } from "hono";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import {
  type CreatedSession,
  CreateSessionRequest,
  ListSessionsQuery,
  PatchSessionRequest,
  TranscriptQuery,
} from "../../../protocol/sessions.js";
import {
  type AppendTranscriptAnswer,
  AppendTranscriptRequest,
  InputRequest,
} from "../../../protocol/transcript.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, callerOf, requireScope } from "../auth.js";
import { idempotencyKey, json, query } from "../validate.js";
import { memoryRoutes } from "./memory.js";
import { runRoutes } from "./runs.js";
import { sessionLifeRoutes } from "./session-life.js";

/** The filters `metadata.KEY=VALUE` of a list. */
function metadataOf(c: Context): Record<string, string> {
  const found = Object.entries(c.req.query()).filter(([name]) => name.startsWith(METADATA));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(METADATA.length), value]));
}
const METADATA = "metadata.";

export const PurgeQuery = z.object({ purge: z.enum(["0", "1", "true", "false"]).optional() });

/** `/v2/sessions` and `/gateway/sessions`: the app-facing API. */
export function sessionRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  const run = requireScope("run");
  const admin = requireScope("admin");
  return new Hono<{ Variables: AccountVariables }>()
    .post("/", run, json(CreateSessionRequest), async (c) => {
      const { accountId } = c.var.principal;
      const request = c.req.valid("json");
      const key = idempotencyKey(c);
      const create = async () => {
        const { parent_session_id: parentId } = request;
        const parent = parentId === undefined ? null : await sessions.get(accountId, parentId);
        return sessions.create(accountId, request, c.req.raw.signal, parent?.id);
      };
      if (key === undefined) return c.json(await create(), 201);
      const created = await sessions.keys.once<CreatedSession>(
        { accountId, key, parts: ["create", request], runId: null },
        {
          work: create,
          again: create,
          answered: { share: true, write: JSON.stringify, read: (text) => JSON.parse(text) },
        },
      );
      return c.json(created, 201);
    })
    .get("/", read, query(ListSessionsQuery), async (c) =>
      c.json(await sessions.list(c.var.principal.accountId, c.req.valid("query"), metadataOf(c))),
    )
    .get("/:id", read, query(TranscriptQuery), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      return c.json(await sessions.record(session, c.req.valid("query")));
    })
    .patch("/:id", run, json(PatchSessionRequest), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      return c.json({ session_id: session.id, ...(await sessions.patch(session, c.req.valid("json"))) });
    })
    .delete("/:id", run, query(PurgeQuery), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      const { purge } = c.req.valid("query");
      if (purge === "1" || purge === "true") {
        await admin(c, async () => {});
        await sessions.purge(session);
        return c.json({ success: true, session_id: session.id, status: "purged" });
      }
      await sessions.close(session, "deleted");
      return c.json({ success: true, session_id: session.id, status: "ended" });
    })
    .post("/:id/close", run, async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      await sessions.close(session, "closed");
      return c.json({ success: true, session_id: session.id, status: "ended" });
    })
    .get("/:id/metrics", read, async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      return c.json(sessions.metrics(session));
    })

    .route("/:id", runRoutes({ sessions }))
    .route("/:id", sessionLifeRoutes({ sessions }))
    .route("/:id", memoryRoutes({ sessions }))

    .get("/:id/transcript", read, query(TranscriptQuery), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      const transcript = await sessions.transcripts.read(session.id, c.req.valid("query"));
      return c.json({ session_id: session.id, transcript, transcript_total: session.entry_count });
    })
    .post("/:id/transcript", run, json(AppendTranscriptRequest), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      const { entries } = c.req.valid("json");
      if (entries.some(({ role }) => role === "user"))
        sessions.activity.note(session.id, "input", callerOf(c));
      const { appended, total } = await sessions.transcripts.appendGiven(session, entries);
      await sessions.countInteractions(
        session,
        entries.filter(({ role, kind }) => role === "user" && kind === "text").length,
      );
      return c.json({
        session_id: session.id,
        appended,
        transcript_total: total,
      } satisfies AppendTranscriptAnswer);
    })
    .post("/:id/input", run, json(InputRequest), async (c) => {
      const session = await sessions.get(c.var.principal.accountId, c.req.param("id"));
      if (session.ended_at !== null) {
        throw new CerverError("session_ended", `Session ${session.id} has ended and takes no more input.`, {
          hint: "Create a new session with POST /v2/sessions.",
        });
      }
      sessions.activity.note(session.id, "input", callerOf(c));
      const { appended, total } = await sessions.transcripts.append(session, [
        { ...c.req.valid("json"), kind: "text" },
      ]);
      await sessions.countInteractions(session, appended);
      return c.json({ session_id: session.id, appended, transcript_total: total });
    });
}
