import { type Context, Hono } from "hono";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import { parse } from "../../../protocol/parse.js";
import { MAX_STDIN_LENGTH } from "../../../protocol/run-limits.js";
import {
  ListRunsQuery,
  OutputQuery,
  parseEventId,
  type RunAnswer,
  type RunRecord,
  RunRequest,
  StdinRequest,
  StreamQuery,
} from "../../../protocol/runs.js";
import type { OpenedStream } from "../../session/runs/runs.js";
import type { Session } from "../../session/session-record.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, callerOf, requireScope } from "../auth.js";
import { EVENT_STREAM_HEADERS } from "../live.js";
import { toNdjson } from "../ndjson.js";
import { idempotencyKey, json, query, readBody } from "../validate.js";

type Variables = AccountVariables & { session: Session };
export const StdinQuery = z.object({ offset: z.coerce.number().int().min(0).optional() });

/** `/v2/sessions/:id/run`, `/run/stream` and `/runs`: everything about executions. */
export function runRoutes({ sessions }: { sessions: Sessions }) {
  const { runs, records, keys } = sessions;
  const read = requireScope("read");
  const run = requireScope("run");
  const load = async (c: Context<{ Variables: Variables }>) =>
    sessions.open(c.var.principal.accountId, c.req.param("id") as string);
  /** The session, which is awake for what is done in it now. */
  const use = async (c: Context<{ Variables: Variables }>, kind: "run" | "stdin") => {
    const session = await load(c);
    sessions.activity.note(session.id, kind, callerOf(c));
    return session;
  };

  return new Hono<{ Variables: Variables }>()
    .post("/run", run, json(RunRequest), async (c) => {
      const session = await use(c, "run");
      const request = c.req.valid("json");
      const { signal } = c.req.raw;
      if (request.background) return begin(c, session, request, "run");
      const key = idempotencyKey(c);
      const answer =
        key === undefined
          ? await runs.run(session, request, signal)
          : await keys.once<RunAnswer>(keyed(c, key, session, "run", request), {
              work: async () => {
                const id = await begun(session, request, c);
                return runs.run(session, request, signal, id);
              },
              again: async (id) => runs.await(session, await records.get(session, id), request, signal),
              answered: { share: true, write: JSON.stringify, read: (text) => JSON.parse(text) },
            });
      c.header("X-Cerver-Session-Id", session.id);
      c.header("X-Cerver-Provider", session.provider);
      return c.json(answer);
    })
    .post("/run/stream", run, json(RunRequest), async (c) => {
      const session = await use(c, "run");
      const request = c.req.valid("json");
      const { signal } = c.req.raw;
      const key = idempotencyKey(c);
      const stream =
        key === undefined
          ? await runs.stream(session, request, signal)
          : await keys.once<OpenedStream>(keyed(c, key, session, "stream", request), {
              work: async () => {
                const id = await begun(session, request, c, true);
                return runs.stream(session, request, signal, id);
              },
              again: async (id) =>
                runs.follow(session, await records.get(session, id), BEGINNING, signal, request),
              answered: { share: false, write: () => undefined, read: (text) => JSON.parse(text) },
            });
      return events(c, session, stream);
    })

    .post("/runs", run, json(RunRequest), async (c) =>
      begin(c, await use(c, "run"), c.req.valid("json"), "runs"),
    )
    .get("/runs", read, query(ListRunsQuery), async (c) =>
      c.json(await runs.list(await load(c), c.req.valid("query"))),
    )
    .get("/runs/:run", read, async (c) => c.json(await runs.get(await load(c), c.req.param("run"))))
    .post("/runs/:run/cancel", run, async (c) => c.json(await runs.cancel(await load(c), c.req.param("run"))))
    .get("/runs/:run/stream", read, query(StreamQuery), async (c) => {
      const session = await load(c);
      const row = await records.get(session, c.req.param("run"));
      const { stdout_offset, stderr_offset } = c.req.valid("query");
      const last = parseEventId(c.req.header("last-event-id"));
      const offsets = {
        stdout: stdout_offset ?? last?.stdout ?? 0,
        stderr: stderr_offset ?? last?.stderr ?? 0,
      };
      return events(c, session, await runs.follow(session, row, offsets, c.req.raw.signal));
    })
    .get("/runs/:run/output", read, query(OutputQuery), async (c) => {
      const row = await records.get(await load(c), c.req.param("run"));
      return output(c, row.id, (range) =>
        runs.output(row, { ...range, stream: c.req.valid("query").stream }, c.req.raw.signal),
      );
    })
    .post("/runs/:run/stdin", run, query(StdinQuery), async (c) => {
      const row = await records.get(await use(c, "stdin"), c.req.param("run"));
      const { offset } = c.req.valid("query");
      return c.json((await runs.stdin(row, { bytes: await input(c), offset, close: false })) as object);
    })
    .post("/runs/:run/stdin/close", run, async (c) => {
      const row = await records.get(await load(c), c.req.param("run"));
      const nothing = { bytes: new Uint8Array(0), offset: undefined, close: true };
      return c.json((await runs.stdin(row, nothing)) as object);
    });

  async function begin(
    c: Context<{ Variables: Variables }>,
    session: Session,
    request: RunRequest,
    what: string,
  ): Promise<Response> {
    const key = idempotencyKey(c);
    const { signal } = c.req.raw;
    const background = { ...request, background: true };
    const record =
      key === undefined
        ? await runs.start(session, background, signal)
        : await keys.once<RunRecord>(keyed(c, key, session, what, request), {
            work: async () => runs.start(session, background, signal, await begun(session, background, c)),
            again: async (id) => {
              const record = await runs.get(session, id);
              if (record.end_reason !== "never_started") return record;
              const row = await runs.reopen(session, id);
              // Another request has begun it, where the session was then.
              if (row.compute_id !== session.compute_id) return runs.get(session, id);
              return runs.start(session, background, signal, id);
            },
            answered: { share: true, write: () => undefined, read: (text) => JSON.parse(text) },
          });
    c.header("Location", `/v2/sessions/${session.id}/runs/${record.run_id}`);
    return c.json(record, 202);
  }

  /** Puts a run with a key on the record before anything of it is sent: whoever asks again finds it. */
  async function begun(
    session: Session,
    request: RunRequest,
    c: Context<{ Variables: Variables }>,
    streamed = false,
  ): Promise<string> {
    const id = runIdOf(c);
    await runs.announce(session, request, streamed, id);
    return id;
  }
}

const BEGINNING = { stdout: 0, stderr: 0 };
const runIds = new WeakMap<Request, string>();

/** The id of the run that this request begins, if it is the one that begins it. */
function runIdOf(c: Context): string {
  const { raw } = c.req;
  const id = runIds.get(raw) ?? newId("run");
  runIds.set(raw, id);
  return id;
}

function keyed(
  c: Context<{ Variables: Variables }>,
  key: string,
  session: Session,
  what: string,
  request: RunRequest,
) {
  return {
    accountId: c.var.principal.accountId,
    key,
    parts: [what, session.id, request],
    runId: runIdOf(c),
  };
}

function events(c: Context, session: Session, stream: OpenedStream): Response {
  const ndjson = c.req.header("accept")?.includes("application/x-ndjson");
  return c.body(ndjson ? toNdjson(stream.body) : stream.body, 200, {
    ...EVENT_STREAM_HEADERS,
    "Content-Type": ndjson ? "application/x-ndjson" : "text/event-stream; charset=utf-8",
    "X-Cerver-Session-Id": session.id,
    "X-Cerver-Run-Id": stream.runId,
    "X-Cerver-Provider": stream.provider,
    "X-Cerver-Stream-Latency-Ms": stream.openMs.toFixed(1),
  });
}

/** Raw output, whole or a range of it (RFC 9110, section 14). */
async function output(
  c: Context,
  runId: string,
  ask: (range: { from: number; until: number | undefined }) => Promise<Response>,
): Promise<Response> {
  const header = c.req.header("range");
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "");
  const [, begins = "", ends = ""] = match ?? [];
  const backwards = begins !== "" && ends !== "" && Number(ends) < Number(begins);
  // A range that is not understood is no range (section 14.2), nor is one that ends before it begins (14.1.1).
  const ranged = (begins !== "" || ends !== "") && !backwards;
  let from = ranged && begins !== "" ? Number(begins) : 0;
  const last = ranged && begins !== "" && ends !== "" ? Number(ends) : undefined;
  if (ranged && begins === "") {
    // The last so many bytes: how many there are has to be known first.
    const probe = await ask({ from: 0, until: 0 });
    await probe.body?.cancel();
    from = Math.max(0, Number(probe.headers.get("x-cerver-output-bytes")) - Number(ends));
  }
  const response = await ask({ from, until: last === undefined ? undefined : last + 1 });
  const [first, until, total] = ["from", "until", "bytes"].map((name) =>
    Number(response.headers.get(`x-cerver-output-${name}`)),
  ) as [number, number, number];
  const headers: Record<string, string> = {
    "Content-Type": "application/octet-stream",
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "X-Cerver-Run-Id": runId,
    "X-Cerver-Output-Bytes": String(total),
    "X-Cerver-Output-From": String(first),
  };
  if (ranged && (from >= total || (first > from && first >= until))) {
    await response.body?.cancel();
    c.header("Content-Range", `bytes */${total}`);
    const dropped = first > from;
    const kept = dropped ? await firstKept(ask, from) : 0;
    throw new CerverError(
      "range_not_satisfiable",
      `There are ${total} bytes in all, and those asked for (${header}) are not among those kept.`,
      {
        hint: dropped
          ? `This output was dropped: what is kept after it begins at byte ${kept}.`
          : "Ask for bytes that are there.",
        details: { first: kept, total },
      },
    );
  }
  if (ranged) headers["Content-Range"] = `bytes ${first}-${until - 1}/${total}`;
  headers["Content-Length"] = String(Math.max(0, until - first));
  return c.body(response.body as ReadableStream, ranged ? 206 : 200, headers);
}

/** The first byte from there on that is kept. */
async function firstKept(
  ask: (range: { from: number; until: number | undefined }) => Promise<Response>,
  from: number,
): Promise<number> {
  const probe = await ask({ from, until: undefined });
  await probe.body?.cancel();
  return Number(probe.headers.get("x-cerver-output-from"));
}

/** Input as it comes, or as the `data` of a JSON body. */
async function input(c: Context): Promise<Uint8Array> {
  const bytes = await readBody(c, MAX_STDIN_LENGTH * 2);
  if (!/^application\/json\b/i.test(c.req.header("content-type") ?? "")) return bytes;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new CerverError("invalid_request", `The body is not JSON: ${(error as Error).message}.`, {
      hint: 'Send {"data": "…"}, or the input itself with "Content-Type: application/octet-stream".',
    });
  }
  const { data, encoding } = parse(StdinRequest, value);
  return Buffer.from(data, encoding ?? "utf8");
}
