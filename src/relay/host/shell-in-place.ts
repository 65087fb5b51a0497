import { realpathSync } from "node:fs";

/** A dash takes this much of its stdin in one read, less what the terminal of a line costs; the rest of a script would be lost. */
const ONE_READ_BYTES = 8_000;
/**
 * What a script may do to see where its shell reads from, or to move it: `exec` that redirects stdin, `set` and `$-`-like
 * flags, what is read from elsewhere, and /proc, which shows how the shell was started.
 */
const SEES_THE_DIFFERENCE = /\b(?:exec|set|eval|source)\b|\/proc\/|(?:^|[\s;&|({!])\.(?:\s|$)/;

/**
 * Whether a shell that waits on its stdin can be the script's own shell, so that nothing tells it from a fresh
 * `/bin/sh -c SCRIPT`. Where this is not sure, it becomes a fresh shell instead.
 */
export function runsInPlace(script: string, text: string): boolean {
  return IS_DASH && !SEES_THE_DIFFERENCE.test(script) && Buffer.byteLength(text) <= ONE_READ_BYTES;
}

/** Whether `/bin/sh` is a dash, for which this was compared, script by script. Other shells read their stdin differently. */
export const IS_DASH = isDash();

function isDash(): boolean {
  try {
    return /\/dash$/.test(realpathSync("/bin/sh"));
  } catch {
    return false;
  }
}
