import { setTimeout as sleep } from "node:timers/promises";
import type { Sandbox } from "@vercel/sandbox";
import { CerverError } from "../../../protocol/errors.js";
import type { CreateSandboxRequest } from "../../../protocol/sandbox.js";
import { sessionVariables } from "../../../protocol/session-variables.js";
import type { VercelScope } from "./vercel-account.js";
import { VENDOR, wordsOf } from "./vercel-failure.js";
import { isGone } from "./vercel-run.js";
import { ENVIRONMENT_VARIABLE } from "./vercel-supervisor.js";
import { VercelRefusal, type VercelWire } from "./vercel-wire.js";

/** The tag by which a session's sandboxes are found. */
export const SESSION_TAG = "cerver_session";
/** How long a sandbox lives when nobody says: the longest that every plan of Vercel's gives. Its own default is 5 minutes. */
const DEFAULT_LIFETIME_MS = 45 * 60_000;
/** What is left of a sleeping sandbox that nobody deletes goes after a week. */
const SNAPSHOT_LIFETIME_MS = 7 * 24 * 60 * 60_000;
/** Pauses between the attempts to remove a sandbox of which nobody knows whether it was made. */
const REMOVE_PAUSES_MS = [0, 400, 1_200, 3_000];
/** Pauses while a sandbox is busy: the vendor is still putting it to sleep. */
const BUSY_PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];

/** What an operation has at hand: the SDK, loaded, and the account's scope. */
export interface Vendor {
  Sandbox: typeof Sandbox;
  wire: VercelWire;
  options: VercelScope & { fetch: typeof fetch };
}

/**
 * Makes a sandbox under a name of ours. It is never given up half way: a request that is aborted would leave a sandbox
 * that nobody knows. When the caller is gone or the answer is lost, the name is enough to remove what was made.
 */
export async function createVercel(
  at: Vendor,
  name: string,
  { timeout_ms, metadata }: CreateSandboxRequest,
  runtime: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const session = metadata.cerver_session_id;
  const envs = sessionVariables(metadata);
  try {
    await at.Sandbox.create({
      ...at.options,
      name,
      persistent: true,
      timeout: Math.ceil(timeout_ms ?? DEFAULT_LIFETIME_MS),
      snapshotExpiration: SNAPSHOT_LIFETIME_MS,
      keepLastSnapshots: { count: 1 },
      ...(runtime !== undefined && { runtime }),
      env: { [ENVIRONMENT_VARIABLE]: JSON.stringify(envs) },
      ...(typeof session === "string" && { tags: { [SESSION_TAG]: session } }),
    });
  } catch (error) {
    const isNotMade = error instanceof VercelRefusal && error.status !== undefined && error.status < 500;
    if (!isNotMade) await removeUnknown(at, name, error);
    throw error;
  }
  if (!signal.aborted) return;
  await removeUnknown(at, name, signal.reason);
  throw signal.reason;
}

/** Removes a sandbox that may be there, or may still be about to be. */
async function removeUnknown(at: Vendor, name: string, cause: unknown): Promise<void> {
  let failure: unknown;
  for (const pause of REMOVE_PAUSES_MS) {
    await sleep(pause);
    try {
      if (await removeVercel(at, name, new AbortController().signal)) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
  }
  if (failure === undefined) return;
  throw new CerverError(
    "provider_failed",
    `${VENDOR} may have made a sandbox whose making was given up, and it could not be removed: ${wordsOf(failure)}.`,
    {
      hint: `Look for "${name}" in the project's sandboxes. It stops by itself when its time is over.`,
      details: { vendor: VENDOR, sandbox_id: name },
      cause,
    },
  );
}

/** Deletes a sandbox with its snapshots, and ends what runs in it. Tells whether it was there. */
export async function removeVercel(
  { Sandbox, options }: Vendor,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    try {
      const sandbox = await Sandbox.get({ ...options, name, resume: false, signal });
      // One that the vendor will not delete while it runs is stopped; one that is stopping is waited for.
      if (attempt > 0 && sandbox.status === "running") await stopVercel(sandbox, signal);
      await sandbox.delete({ deleteOrphanSnapshots: true, signal });
      return true;
    } catch (error) {
      if (isGone(error)) return attempt > 0;
      const isBusy = error instanceof VercelRefusal && (error.status === 409 || error.status === 422);
      const pause = isBusy ? BUSY_PAUSES_MS[attempt] : undefined;
      if (pause === undefined) throw error;
      await sleep(pause, undefined, { signal });
    }
  }
}

/** Stops a sandbox, unless it has stopped by itself meanwhile. */
export async function stopVercel(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
  await sandbox.stop({ signal }).catch((error: unknown) => {
    if (!(error instanceof VercelRefusal) || error.status !== 410) throw error;
  });
}

/** Wakes a sandbox that sleeps; one that is falling asleep is waited for. */
export async function wakeVercel(
  { Sandbox, options }: Vendor,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await Sandbox.get({ ...options, name, resume: true, signal });
      return;
    } catch (error) {
      const pause = isFallingAsleep(error) ? BUSY_PAUSES_MS[attempt] : undefined;
      if (pause === undefined) throw error;
      await sleep(pause, undefined, { signal });
    }
  }
}

export function isAwake(status: Sandbox["status"]): boolean {
  return status === "running" || status === "pending";
}

function isFallingAsleep(error: unknown): boolean {
  return (
    error instanceof VercelRefusal &&
    error.status === 422 &&
    (error.code === "sandbox_stopping" || error.code === "sandbox_snapshotting")
  );
}
