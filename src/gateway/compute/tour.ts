import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "./contract.js";

/** The commands that a tour runs, each to its end and as a stream. The first is a sandbox's first command. */
export const TOUR_COMMANDS = [
  "node -v",
  "true",
  "echo hello",
  "uname -s",
  "ls -A",
  "echo wrong >&2; exit 3",
  "sleep 0.2; echo slept",
  "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done",
] as const;

/** How long one call may take, and how long deleting may, in milliseconds. */
const CALL_MS = 60_000;
const DELETE_MS = 30_000;
const COMMAND_SECONDS = 30;

export interface TourTarget {
  adapter: ProviderAdapter;
  computeId: string;
  credentials: Readonly<Record<string, string>>;
}

/**
 * One round of a provider as a session uses it: a sandbox, its first command, more commands and streams, files, state,
 * deleting. Failures of the provider are what is being looked at, so they end no round.
 *
 * `onLeft` hears a sentence when its sandbox may still be there. Throws the signal's reason when that aborts; the sandbox is
 * deleted all the same.
 */
export async function tour(
  { adapter, computeId, credentials }: TourTarget,
  { signal, onLeft }: { signal: AbortSignal; onLeft: (sentence: string) => void },
): Promise<void> {
  const env = (ms = CALL_MS): ProviderEnv => ({
    computeId,
    credentials,
    signal: AbortSignal.any([signal, AbortSignal.timeout(ms)]),
  });
  const session = newId("sess");
  const metadata = { cerver_session_id: session };
  const record = await noted(
    adapter.createSandbox({ engine: "shell", timeout_ms: 10 * 60_000, metadata }, env()),
    signal,
  );
  if (!record) {
    const left = await endLost({ adapter, computeId, credentials }, session);
    if (left !== undefined) onLeft(left);
    return;
  }
  try {
    await visit(adapter, record, session, env, signal);
  } finally {
    const left = await end(adapter, record, {
      computeId,
      credentials,
      signal: AbortSignal.timeout(DELETE_MS),
    });
    if (left !== undefined) onLeft(left);
  }
}

async function visit(
  adapter: ProviderAdapter,
  record: SandboxRecord,
  session: string,
  env: () => ProviderEnv,
  signal: AbortSignal,
): Promise<void> {
  const heard = (asking: Promise<Response>) =>
    noted(
      asking.then((response) => response.arrayBuffer()),
      signal,
    );
  for (const code of TOUR_COMMANDS) {
    const request = { code, runtime: "shell" as const, timeout: COMMAND_SECONDS };
    await heard(adapter.runSandbox(record, { ...request, run_id: newId("run") }, env()));
    await heard(adapter.runSandboxStream(record, { ...request, run_id: newId("run") }, env()));
  }
  const file = { path: "tour/a file.txt", content: "kept\n", encoding: "utf8" as const };
  await heard(adapter.writeFile(record, file, env()));
  await heard(adapter.readFile(record, file.path, "utf8", env()));
  await heard(adapter.readFile(record, "tour/none", "utf8", env()));
  await heard(adapter.setState(record, { step: 1 }, env()));
  await heard(adapter.getState(record, env()));
  if (adapter.cloud) {
    await noted(adapter.cloud.verify(env()), signal);
    await noted(adapter.cloud.find(session, env()), signal);
  }
}

async function end(
  adapter: ProviderAdapter,
  record: SandboxRecord,
  env: ProviderEnv,
): Promise<string | undefined> {
  try {
    const response = await adapter.deleteSandbox(record, env);
    await response.arrayBuffer();
    if (response.ok) return undefined;
    return `Sandbox ${record.sandboxId} is still there: HTTP ${response.status}.`;
  } catch (error) {
    return `Sandbox ${record.sandboxId} may still be there: ${words(error)}`;
  }
}

/** A create that failed may have made a sandbox: it is looked for, and ended. */
async function endLost(
  { adapter, computeId, credentials }: TourTarget,
  session: string,
): Promise<string | undefined> {
  if (!adapter.cloud) return undefined;
  const env = { computeId, credentials, signal: AbortSignal.timeout(DELETE_MS) };
  try {
    const found = await adapter.cloud.find(session, env);
    const left = await Promise.all(found.map((record) => end(adapter, record, env)));
    return left.find((sentence) => sentence !== undefined);
  } catch (error) {
    return `A create failed, and whether it left a sandbox cannot be told: ${words(error)}`;
  }
}

/** What a call gives; undefined when it fails, which the recorder has written down. */
async function noted<T>(asking: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await asking;
  } catch (error) {
    signal.throwIfAborted();
    const isKnown = error instanceof CerverError || (error as Error)?.name === "TimeoutError";
    if (isKnown) return undefined;
    throw error;
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
