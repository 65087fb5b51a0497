import type { SessionDigest } from "./wire.js";

/** A digest for a reader, agent or person: the sections that have something in them. */
export function digestText(digest: SessionDigest): string {
  const { session_name, status, total, from_seq } = digest;
  const lines = [
    `${oneLine(session_name)} · ${status} · ${total} entries${from_seq > 0 ? ` (looked at from ${from_seq} on)` : ""}`,
  ];
  const section = (title: string, items: readonly string[]) => {
    if (items.length > 0) lines.push("", `${title}:`, ...items.map((item) => `- ${oneLine(item)}`));
  };
  section("Goal", present(digest.goal));
  section("Last asked", present(digest.last_request));
  section("Last said", present(digest.last_state));
  section(
    "Claims with no run behind them",
    digest.unbacked_claims.map(({ text, seq, why }) => `"${text}" (entry ${seq}: ${WHY[why] ?? why})`),
  );
  section(
    "Failures",
    digest.failures.map(({ command, outcome, last_line }) =>
      [command, outcome, last_line].filter(Boolean).join(" → "),
    ),
  );
  section(
    "Open questions",
    digest.open_questions.map(({ text, seq }) => `${text} (entry ${seq})`),
  );
  section(
    "Commands",
    digest.commands.map(
      ({ command, outcome, run_id }) => `${command} → ${outcome}${run_id ? "" : " (as told)"}`,
    ),
  );
  section("Files touched", digest.files);
  if (digest.left_out > 0) lines.push("", `${digest.left_out} more did not fit.`);
  return lines.join("\n");
}

const WHY: Record<string, string> = {
  no_run: "nothing was run that shows it",
  run_failed: "the last run of it did not succeed",
  changed_since: "files were changed after the last run of it",
};

function present(text: string | null): string[] {
  return text === null ? [] : [text];
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
