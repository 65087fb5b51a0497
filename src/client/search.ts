import { SessionDigest } from "../protocol/digest.js";
import { SearchAnswer } from "../protocol/search.js";
import { failure } from "./failures.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

export interface SearchQuery {
  /** Words that all have to be there; `"a phrase"`, `-without`, `begin*`. At most 512 characters. */
  q: string;
  /** 1 to 50. @default 10 */
  limit?: number | undefined;
  session_id?: string | undefined;
  role?: string | undefined;
  kind?: string | undefined;
  /** The name of a tool. */
  tool?: string | undefined;
  /** RFC 3339. */
  since?: string | undefined;
  until?: string | undefined;
  /** In sessions that carry all of these labels. */
  labels?: Record<string, string> | undefined;
  working_dir?: string | undefined;
  repository?: string | undefined;
  /** Only entries of this source and of more trusted ones: user, own_tool, model, external. */
  min_trust?: wire.EntrySource | undefined;
  /** The `next_cursor` of the page before. */
  cursor?: string | undefined;
}

export interface ExportQuery {
  /** @default "text" */
  format?: "text" | "markdown" | "jsonl" | undefined;
  min_trust?: wire.EntrySource | undefined;
}

/** The memory that sessions are: finding in them, and reading them short or whole. */
export interface SearchCalls {
  /** Entries of all the account's sessions, the best and newest first. */
  search(query: SearchQuery, signal?: AbortSignal): Promise<wire.SearchAnswer>;
  /** What a session is about and where it stands, in `max_tokens` (1,000) at most. */
  digest(
    sessionId: string,
    query?: { max_tokens?: number | undefined },
    signal?: AbortSignal,
  ): Promise<wire.SessionDigest>;
  /** The whole transcript as a text, in pieces. */
  exportSession(sessionId: string, query?: ExportQuery, signal?: AbortSignal): AsyncGenerator<string>;
}

export function searchCalls(http: GatewayHttp): SearchCalls {
  return {
    search: ({ labels = {}, ...query }, signal) =>
      http.json("GET", "/v2/search", SearchAnswer, {
        query: { ...query, label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) },
        signal,
      }),
    digest: (id, query = {}, signal) =>
      http.json("GET", at`/v2/sessions/${id}/digest`, SessionDigest, { query: { ...query }, signal }),
    async *exportSession(id, query = {}, signal) {
      const response = await http.send("GET", at`/v2/sessions/${id}/export`, {
        query: { ...query },
        signal,
        timeoutMs: null,
        accept: "*/*",
      });
      if (!response.ok || !response.body) throw await failure(response);
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          yield decoder.decode(value, { stream: true });
        }
      } finally {
        await reader.cancel().catch(() => {});
      }
    },
  };
}
