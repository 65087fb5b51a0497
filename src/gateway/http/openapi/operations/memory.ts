import { DigestQuery, SessionDigest } from "../../../../protocol/digest.js";
import { SearchAnswer, SearchQuery } from "../../../../protocol/search.js";
import { ExportQuery, TranscriptEntry } from "../../../../protocol/transcript.js";
import type { Theme } from "../operation.js";

const SESSION = "/v2/sessions/{session_id}";

export const memory: Theme = {
  name: "Memory",
  description: "Finding in transcripts, and reading them short or whole.",
  operations: [
    {
      id: "search",
      method: "get",
      path: "/v2/search",
      summary: "Find entries in all of the account's sessions",
      description:
        "An entry is found by its content, by the name of its tool and by what the tool was given, as soon as its append is answered. Newer entries are preferred. The first and the last 8,000 words of an entry are searchable.",
      scope: "read",
      query: SearchQuery,
      answers: { 200: { what: "What was found, best first.", json: SearchAnswer } },
    },
    {
      id: "sessionDigest",
      method: "get",
      path: `${SESSION}/digest`,
      summary: "What a session is about and where it stands, in few tokens",
      description: "Made from the record without a model, so the same record gives the same digest.",
      scope: "read",
      query: DigestQuery,
      answers: { 200: { what: "The digest.", json: SessionDigest } },
      errors: ["session_not_found"],
    },
    {
      id: "exportSession",
      method: "get",
      path: `${SESSION}/export`,
      summary: "The whole transcript as text, Markdown or JSON lines",
      description:
        "Streamed. In text and Markdown, what is data and not speech stands between fences that carry a random word of this export.",
      scope: "read",
      query: ExportQuery,
      answers: {
        200: {
          what: "The transcript, oldest entry first.",
          lines: TranscriptEntry,
          texts: ["text/plain", "text/markdown"],
        },
      },
      errors: ["session_not_found"],
    },
  ],
};
