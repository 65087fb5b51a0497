import { CerverError } from "../../protocol/errors.js";
import { MAX_FILE_BYTES, SandboxState } from "../../protocol/sandbox.js";

/** The largest state is a million characters, each of four bytes at most. Whatever runs in a sandbox may write more. */
export const MAX_STATE_BYTES = 4 * 1024 * 1024;

/** The whole of a stream, with a bound that holds even if the file grows meanwhile. */
export async function readUpTo(
  max: number,
  stream: AsyncIterable<Uint8Array>,
  tooMuch: () => CerverError,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > max) throw tooMuch();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The state as a sandbox gave it back, if it can be one. */
export function keptState(given: unknown): Record<string, unknown> {
  const state = SandboxState.safeParse(given);
  if (state.success) return state.data;
  throw stateChanged();
}

export function stateChanged(): CerverError {
  return new CerverError("provider_failed", "The state file in the sandbox is not what was put there.", {
    hint: "Something in the sandbox wrote to it, below .cerver. Set the state anew.",
  });
}

export function tooLarge(path: string): CerverError {
  return new CerverError("too_large", `path: "${path}" is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB.`, {
    hint: "Split it, or move it with a run, for example with curl.",
  });
}
