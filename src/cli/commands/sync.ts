import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { PassReport } from "../../sync/start.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION } from "../options.js";
import { untilStopped } from "../until-stopped.js";

interface SyncOptions {
  gateway?: string;
  once?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export const syncCommand = (context: CliContext) =>
  new Command("sync")
    .summary("keep the transcripts of this machine's agents as sessions")
    .description(
      "Follows the transcript files that Claude Code, Codex and Gemini CLI leave on this machine, and appends them to sessions. An empty .cerverignore in a folder keeps the sessions under it here.",
    )
    .option(...GATEWAY_OPTION)
    .option("--once", "send what is new, then end")
    .option("--dry-run", "tell what would be sent, and send nothing")
    .option("--json", "print JSON, a line for each pass that sent something")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver sync --dry-run\n  $ cerver sync\n  $ cerver sync --once --json\n  $ cerver sync status",
    )
    .action(async (options: SyncOptions) => {
      const { out } = context;
      const { syncConfig } = await import("../../sync/config.js");
      const { followSync, syncDryRun, syncOnce } = await import("../../sync/start.js");
      const config = syncConfig(context.env);
      const abort = new AbortController();
      void untilStopped(context).then(() => abort.abort());
      const tell = (report: PassReport, verb: string) =>
        options.json ? out.line(JSON.stringify(report)) : out.say(sentence(report, verb));
      if (options.dryRun) {
        const { gatewayUrl } = await context.namedGateway(options.gateway);
        return tell(await syncDryRun(config, gatewayUrl, abort.signal), "Would send");
      }
      const deps = { ...(await gatewayFor(context, options.gateway)), signal: abort.signal };
      if (options.once) return tell(await syncOnce(config, deps), "Sent");
      out.say(`Gateway: ${deps.gatewayUrl}\nFollowing the transcripts of this machine; Ctrl-C ends that.`);
      await followSync(config, {
        ...deps,
        onPass: (report) => {
          if (report.entries > 0) tell(report, "Sent");
        },
        onWaiting: (why, waitMs) => out.say(`${why} Next try in ${(waitMs / 1000).toFixed(1)} s.`),
      });
      context.process.exit(0);
    })
    .addCommand(statusCommand(context));

const statusCommand = (context: CliContext) =>
  new Command("status")
    .summary("what was read of each file")
    .option(...GATEWAY_OPTION)
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  $ cerver sync status --json")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<SyncOptions>();
      const { syncConfig } = await import("../../sync/config.js");
      const { syncStatus } = await import("../../sync/start.js");
      const { gatewayUrl } = await context.namedGateway(options.gateway);
      const { files, sessions, savedAt } = await syncStatus(syncConfig(context.env), gatewayUrl);
      const rows = Object.entries(files).map(([path, file]) => ({
        path,
        sessions: file.syncIds.flatMap((id) => sessions[id] ?? []),
        ...file.counts,
        state: file.ignored ? "ignored" : (file.problem ?? "ok"),
      }));
      if (options.json)
        return context.out.json({ gateway: gatewayUrl, saved_at: savedAt || null, files: rows });
      context.out.table(
        ["ENTRIES", "RAW", "SKIPPED", "STATE", "FILE"],
        rows.map((row) => [String(row.entries), String(row.raw), String(row.skipped), row.state, row.path]),
      );
    });

/** The gateway and the token to send to it with. */
export async function gatewayFor(context: CliContext, flag: string | undefined) {
  const { gatewayUrl, token, tokenWithheld } = await context.gateway(flag);
  if (token !== undefined) return { gatewayUrl, token };
  throw new CerverError("unauthenticated", `There is no token for the gateway ${gatewayUrl}.`, {
    hint:
      tokenWithheld ??
      `Log in with \`cerver login --gateway ${gatewayUrl}\`, or start your own with \`cerver up\`.`,
  });
}

function sentence(
  { entries, sessions, files, raw, skipped, ignored, problems }: PassReport,
  verb: string,
): string {
  const parts = [`${verb} ${entries} entries of ${sessions} sessions (${files} files).`];
  if (raw > 0) parts.push(`${raw} lines are of an unknown kind and kept as they are.`);
  if (skipped > 0) parts.push(`${skipped} lines of bookkeeping were left out.`);
  if (ignored > 0) parts.push(`${ignored} files stay here by a .cerverignore.`);
  for (const { path, problem } of problems) parts.push(`${path}: ${problem}`);
  return parts.join("\n");
}
