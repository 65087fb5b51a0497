import type { Finding, Probe } from "./probe.js";

/** What is taken out of the output of runs here. */
export const redactionProbe: Probe = {
  name: "redaction",
  needs: ["compute"],
  async run({ client, computeId }) {
    const { metadata } = await (await client()).compute((await computeId()) ?? "");
    return (
      IN_WORDS[String(metadata?.redact)] ?? {
        status: "skipped",
        what: "the relay does not say what it takes out",
      }
    );
  },
};

const AGAIN = "unset CERVER_REDACT, then start the relay again";
const IN_WORDS: Record<string, Finding | undefined> = {
  all: { status: "ok", what: "secrets and the shapes of credentials are taken out of what runs print" },
  secrets: {
    status: "warn",
    what: "secrets are taken out of what runs print, the shapes of credentials are not",
    fix: AGAIN,
  },
  off: { status: "warn", what: "nothing is taken out of what runs print", fix: AGAIN },
};
