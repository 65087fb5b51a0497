import type { Scope } from "../../../protocol/scopes.js";

/** What each scope lets its holder do, for the person who allows it. */
export const SCOPE_MEANING: Record<Scope, string> = {
  admin: "everything, tokens included",
  run: "create sessions, run code in them, read them",
  read: "read sessions and transcripts",
  relay: "serve as a compute of your account: your sessions may run code on it",
};
