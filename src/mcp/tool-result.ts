import type { CallToolResult } from "@modelcontextprotocol/server";
import { CerverError } from "../protocol/errors.js";

/** About 10,000 tokens: what clients take without a warning. */
export const MAX_RESULT_LENGTH = 36_000;

/** A result in both forms that clients read. */
export function result(text: string, structuredContent: Record<string, unknown>): CallToolResult {
  return { content: [{ type: "text", text }], structuredContent };
}

/** Runs a tool; a failure becomes an answer that says what happened and what to do next. */
export async function answer(run: () => Promise<CallToolResult>): Promise<CallToolResult> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof CerverError)) throw error;
    const text = error.hint ? `${error.message}\nNext step: ${error.hint}` : error.message;
    return { content: [{ type: "text", text }], isError: true };
  }
}
