import { type ChildProcess, spawn } from "node:child_process";
import type { Launcher, ProcessOrder } from "./launcher.js";
import { ChildOfOurs, type StartedProcess } from "./started-process.js";

/** Starts a process by the launcher where there is one; rejects with the system's error when it is refused. */
export async function startProcess(
  order: ProcessOrder,
  launcher: Launcher | undefined,
): Promise<StartedProcess> {
  if (launcher?.takes(order)) return launcher.start(order);
  const child = spawn(order.file, order.args, {
    cwd: order.cwd,
    env: order.env,
    detached: true,
    stdio: [order.stdin ? "pipe" : "ignore", "pipe", "pipe"],
  });
  if (child.pid === undefined) await failed(child);
  return new ChildOfOurs(child);
}

/** A process without a pid reports why on its next turn. */
function failed(child: ChildProcess): Promise<never> {
  return new Promise((_, reject) => child.once("error", reject));
}
