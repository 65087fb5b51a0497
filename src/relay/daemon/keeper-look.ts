import { encodeKeeperFrame, type KeeperFrame, KeeperFrameReader } from "../keeper/frames.js";
import type { RunState, Tell } from "../keeper/messages.js";
import { connectKeeper } from "./keeper-process.js";

const TIMEOUT_MS = 3_000;

export interface KeeperLook {
  pid: number;
  version: string;
  /** Runs under way; null when it did not say in time. */
  runs: number | null;
}

/** What the keeper of a state folder does now, without having a part in it; undefined when there is none. */
export async function lookAtKeeper(stateDir: string): Promise<KeeperLook | undefined> {
  const socket = await connectKeeper(stateDir);
  if (!socket) return undefined;
  const frames = new KeeperFrameReader();
  const timer = setTimeout(() => socket.destroy(), TIMEOUT_MS);
  let look: KeeperLook | undefined;
  socket.write(encodeKeeperFrame({ op: "states", id: 1, run_ids: null }));
  try {
    for await (const chunk of socket) {
      for (const { head } of frames.push(chunk) as unknown as Iterable<KeeperFrame<Tell>>) {
        if (head.op === "hello")
          look = { pid: head.pid, version: head.software.replace(/^cerver\//, ""), runs: null };
        if (head.op === "reply") return look && { ...look, runs: (head.value as RunState[]).length };
      }
    }
  } catch {
    // It went away, or says what is not understood: what it said before is all that is known.
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
  return look;
}
