import { fork } from "node:child_process";
import { CerverError } from "../../protocol/errors.js";
import type { ConnectionState } from "../connection.js";
import type { Relay } from "../start.js";

/** What a relay in a process of its own tells the one that started it. */
export type RelayMessage =
  | { type: "say"; line: string }
  | { type: "state"; state: ConnectionState }
  | { type: "ready"; computeId: string }
  | { type: "failed"; error: ReturnType<CerverError["toBody"]> };

export interface RelayProcessOptions {
  /** The program to start, which is this one. */
  program: string;
  args: readonly string[];
  env: Record<string, string | undefined>;
  /** Goes over the channel between the two: what is in a process's environment, its runs could read in /proc. */
  token: string;
  say(line: string): void;
  onState(state: ConnectionState): void;
}

/** What such a relay waits for before it begins: the token to register with. */
export function tokenFromParent(process: NodeJS.Process): Promise<string> {
  return new Promise((resolve) => process.once("message", ({ token }: { token: string }) => resolve(token)));
}

/** How long a relay may take to end its runs: their grace, then KILL. */
const STOP_TIMEOUT_MS = 15_000;

/**
 * Starts a relay in a process of its own, so that starting processes for runs holds nobody else up.
 *
 * The two are tied together: when this process is gone, whatever way, the relay ends its runs and goes as well.
 */
export async function startRelayProcess(options: RelayProcessOptions): Promise<Relay> {
  const child = fork(options.program, options.args, {
    env: options.env,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  child.send({ token: options.token }, () => {});
  let failure: CerverError | undefined;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const ready = new Promise<string>((resolve) => {
    child.on("message", (message: RelayMessage) => {
      if (message.type === "say") options.say(message.line);
      if (message.type === "state") options.onState(message.state);
      if (message.type === "ready") resolve(message.computeId);
      if (message.type === "failed") failure = CerverError.fromBody(500, message.error);
    });
  });
  let stopping = false;
  const done = exited.then(() => {
    if (!stopping)
      throw failure ?? new CerverError("internal", "The relay of this machine ended unexpectedly.");
  });
  done.catch(() => {});
  const computeId = await Promise.race([ready, done.then(() => "")]);
  return {
    computeId,
    done,
    stop: async () => {
      stopping = true;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
