import { Command } from "commander";
import type { CancelAnswer } from "../../protocol/runs.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import { type Output, printable } from "../output.js";
import { resolveRun } from "../resolve-run.js";

interface KillOptions {
  json?: boolean;
  gateway?: string;
}

export const killCommand = (context: CliContext) =>
  new Command("kill")
    .summary("end a run and its processes, and say what became of them")
    .description(
      "Ends a run: TERM to everything that belongs to it, KILL to what stays. Prints what was alive, what was sent, which ports came free and what is alive still; exits 0 when nothing is.",
    )
    .argument("<run-id>", "the run, or the beginning of its id")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver kill run_01a2b3c4d5e6")
    .action(async (id: string, { json, gateway }: KillOptions) => {
      const { out, process } = context;
      const client = await context.client(gateway);
      const run = await resolveRun(client, id);
      const answer = await client.cancelRun(run.session_id, run.run_id);
      if (json) out.json(answer);
      else printReceipt(out, answer);
      process.exitCode = answer.receipt.alive.length === 0 ? EXIT.ok : EXIT.failed;
    });

/** How a receipt's `method` knows what belongs to the run. */
const METHODS = {
  cgroup: "the run's cgroup",
  mark: "the run's mark in their environment",
  group: "the run's process group",
} as const;

function printReceipt(out: Output, { run_id, status, receipt }: CancelAnswer): void {
  const { found, signals, alive, ports_freed: ports, found_total: total } = receipt;
  out.line(
    status === "cancelled" ? `Run ${run_id} is cancelled.` : `Run ${run_id} had ended before: ${status}.`,
  );
  if (total > 0) {
    out.line(`Alive were ${processes(total)}, known by ${METHODS[receipt.method]}:`);
    for (const { pid, command, why } of found)
      out.line(`  ${pid}  ${printable(command)}  (${printable(why)})`);
    if (total > found.length) out.line(`  and ${total - found.length} more`);
  }
  for (const { signal, pids, at_ms } of signals) {
    out.line(`Sent ${signal} to ${processes(pids.length)} after ${Math.round(at_ms)} ms.`);
  }
  for (const { protocol, address, port, pid } of ports) {
    const host = address.includes(":") ? `[${address}]` : address;
    out.line(`Free again: ${protocol} ${host}:${port}, which process ${pid} had.`);
  }
  if (alive.length === 0) return out.line("Nothing of it is alive.");
  out.line(`Still alive ${alive.length === 1 ? "is" : "are"} ${processes(alive.length)}:`);
  for (const { pid, command, why } of alive) out.line(`  ${pid}  ${printable(command)}  (${printable(why)})`);
}

function processes(count: number): string {
  return count === 1 ? "1 process" : `${count} processes`;
}
