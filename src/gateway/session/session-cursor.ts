import { CerverError } from "../../protocol/errors.js";

/** Where a page of sessions ended: opaque to clients. */
export function encodeCursor({ created_at, id }: { created_at: number; id: string }): string {
  return Buffer.from(`${created_at} ${id}`).toString("base64url");
}

/** Throws `invalid_request` for a text that {@link encodeCursor} did not make. */
export function decodeCursor(cursor: string): { createdAt: number; id: string } {
  const match = /^(\d{1,15}) (\w{1,80})$/.exec(Buffer.from(cursor, "base64url").toString());
  if (match) return { createdAt: Number(match[1]), id: match[2]! };
  throw new CerverError("invalid_request", "cursor: this is not a cursor that the gateway gave out.", {
    hint: "Send the `next_cursor` of the page before, unchanged, or leave it out for the first page.",
  });
}
