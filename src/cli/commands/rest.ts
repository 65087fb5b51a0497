import { Command } from "commander";
import type { SessionMoved } from "../../protocol/sessions.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import type { Output } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface Options {
  json?: boolean;
  gateway?: string;
}
interface PauseOptions extends Options {
  discardFiles?: boolean;
}
interface MoveOptions extends Options {
  to: string;
  leaveSecrets?: boolean;
  skipIgnored?: boolean;
  files: boolean;
}

export const pauseCommand = (context: CliContext) =>
  new Command("pause")
    .summary("release a session's compute; its record and its files stay")
    .argument("<session-id>", "the session, or the beginning of its id")
    .option("--discard-files", "pause also where the provider cannot keep the files")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver pause sess_01a2")
    .action(async (id: string, { discardFiles = false, json, gateway }: PauseOptions) => {
      const client = await context.client(gateway);
      const moved = await client.pauseSession(await resolveSession(client, id), {
        discard_files: discardFiles,
      });
      if (json) return context.out.json(moved);
      context.out.line(`${moved.session_id} rests. Wake it with: cerver resume ${moved.session_id}`);
    });

export const resumeCommand = (context: CliContext) =>
  new Command("resume")
    .summary("bring a paused session back")
    .argument("<session-id>", "the session, or the beginning of its id")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver resume sess_01a2")
    .action(async (id: string, { json, gateway }: Options) => {
      const client = await context.client(gateway);
      const moved = await client.resumeSession(await resolveSession(client, id));
      if (json) context.out.json(moved);
      else print(context.out, moved);
    });

export const moveCommand = (context: CliContext) =>
  new Command("move")
    .summary("give a session another compute, with its files")
    .description(
      "Moves a session to another compute: its id and its transcript stay, its working folder goes along when both computes can hand it over. Files that look like secrets stop the move, unless they may be left behind.",
    )
    .argument("<session-id>", "the session, or the beginning of its id")
    .requiredOption("--to <compute>", "a compute's id, its label, or a provider such as e2b")
    .option("--leave-secrets", "leave files behind that look like secrets")
    .option("--skip-ignored", "leave behind what git ignores")
    .option("--no-files", "leave the whole working folder behind")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver move sess_01a2 --to mac-mini --leave-secrets")
    .action(async (id: string, { to, leaveSecrets, skipIgnored, files, json, gateway }: MoveOptions) => {
      const client = await context.client(gateway);
      const session = await resolveSession(client, id);
      const computes = await client.computes();
      const named = computes.find(
        ({ compute_id, label }) => compute_id === to || label.toLowerCase() === to.toLowerCase(),
      );
      const moved = await client.changeCompute(session, {
        compute: named ? { compute_id: named.compute_id } : { provider: to },
        carry: files ? "auto" : "never",
        leave_secrets: leaveSecrets ?? false,
        skip_ignored: skipIgnored ?? false,
      });
      if (json) context.out.json(moved);
      else print(context.out, moved);
    });

function print(
  out: Output,
  { session_id, provider, compute_id, carried, warnings = [] }: SessionMoved,
): void {
  out.line(`${session_id} is on ${compute_id} (${provider}).`);
  if (carried) {
    const { files, bytes_total, bytes_sent, left_behind, left_behind_count } = carried;
    out.line(`${files} files came along, ${bytes_total} bytes, of which ${bytes_sent} had to be sent.`);
    if (left_behind_count > 0) out.line(`Left behind: ${left_behind.join(", ")}`);
  }
  for (const warning of warnings) out.say(`warning: ${warning}`);
}
