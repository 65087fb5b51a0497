import { z } from "zod";
import { EntrySource, Role } from "./transcript.js";

/** The longest text to search for, in characters. */
export const MAX_SEARCH_LENGTH = 512;

const When = z.iso.datetime({ offset: true });

/** `GET /v2/search`: what to look for, in which entries. */
export const SearchQuery = z.object({
  q: z
    .string()
    .min(1, "is empty: give the words to look for")
    .max(MAX_SEARCH_LENGTH)
    .describe('Words that all have to be there, in any case; `"a phrase"`, `-without` and `begin*` too.'),
  limit: z.coerce.number().int().min(1).max(50).default(10),
  session_id: z.string().max(128).optional(),
  role: Role.optional(),
  kind: z.string().max(64).optional(),
  tool: z.string().max(256).optional().describe("The name of a tool, as the entry has it."),
  since: When.optional(),
  until: When.optional(),
  label: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe("`NAME=VALUE`, may be repeated: in sessions that carry all of them."),
  working_dir: z.string().max(256).optional().describe("In sessions whose metadata has this working_dir."),
  repository: z.string().max(256).optional().describe("In sessions whose metadata has this repository."),
  min_trust: EntrySource.optional().describe("Only entries of this source and of more trusted ones."),
  cursor: z.string().max(256).optional(),
});
export type SearchQuery = z.infer<typeof SearchQuery>;

/** A piece of a snippet: with `match`, it is what was looked for. */
export const SnippetPart = z.looseObject({ text: z.string(), match: z.literal(true).optional() });
export type SnippetPart = z.infer<typeof SnippetPart>;

/** One entry that was found. Its `session_id` and `seq` lead to the whole of it. */
export const SearchHit = z.looseObject({
  session_id: z.string(),
  session_name: z.string(),
  seq: z.number().int(),
  role: z.string(),
  kind: z.string(),
  at: z.string(),
  source: z.string(),
  tool_name: z.string().optional(),
  run_id: z.string().optional(),
  score: z.number().describe("Above 0, 1 at most; comparable within one answer."),
  snippet: z
    .array(SnippetPart)
    .describe("Some words around the best match, in pieces that follow each other."),
});
export type SearchHit = z.infer<typeof SearchHit>;

/** Answer of `GET /v2/search`. `next_cursor` is absent when there is nothing older; a page may be shorter than asked for. */
export const SearchAnswer = z
  .looseObject({ hits: z.array(SearchHit), next_cursor: z.string().optional() })
  .meta({ id: "SearchAnswer" });
export type SearchAnswer = z.infer<typeof SearchAnswer>;
