import { type Context, Hono } from "hono";
import { DigestQuery } from "../../../protocol/digest.js";
import { ExportQuery, type TranscriptFormat } from "../../../protocol/transcript.js";
import { formatEntry, formatHead, newBoundary } from "../../../protocol/transcript-text.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { query } from "../validate.js";

/** Entries that are read at a time: one may have a million characters. */
const PAGE = 32;
const TYPES: Record<TranscriptFormat, string> = {
  text: "text/plain; charset=utf-8",
  markdown: "text/markdown; charset=utf-8",
  jsonl: "application/x-ndjson",
};

/** `/v2/sessions/:id/digest` and `/export`: a transcript read short or whole. */
export function memoryRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  const sessionOf = (c: Context<{ Variables: AccountVariables }>) =>
    sessions.get(c.var.principal.accountId, c.req.param("id")!);
  return new Hono<{ Variables: AccountVariables }>()
    .get("/digest", read, query(DigestQuery), async (c) =>
      c.json(await sessions.digest(await sessionOf(c), c.req.valid("query").max_tokens)),
    )
    .get("/export", read, query(ExportQuery), async (c) => {
      const { format, min_trust } = c.req.valid("query");
      const { transcript: _, ...session } = await sessions.record(await sessionOf(c), { tail: 0 });
      const pieces = exported(sessions, session, format, min_trust);
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const { done, value } = await pieces.next();
          if (done) controller.close();
          else controller.enqueue(new TextEncoder().encode(value));
        },
        async cancel() {
          await pieces.return();
        },
      });
      return c.body(body, 200, { "Content-Type": TYPES[format] });
    });
}

/** The transcript as it was when the export began, a page of entries at a time. */
async function* exported(
  sessions: Sessions,
  session: Parameters<typeof formatHead>[0],
  format: TranscriptFormat,
  min_trust: ExportQuery["min_trust"],
): AsyncGenerator<string, void> {
  const boundary = newBoundary();
  const head = formatHead(session, format);
  if (head !== "") yield `${head}\n`;
  const total = session.transcriptTotal ?? 0;
  for (let since = 0; since < total; ) {
    const entries = await sessions.transcripts.read(session.sessionId, { since, limit: PAGE, min_trust });
    const now = entries.filter(({ seq }) => seq! < total);
    if (now.length === 0) return;
    yield now.map((entry) => `${formatEntry(entry, format, boundary)}\n`).join("");
    since = now.at(-1)!.seq! + 1;
  }
}
