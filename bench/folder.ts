import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Endings } from "./endings.js";

/** A folder of the bench's own. Made and noted in one go, so that no signal comes between the two. */
export function newFolder(endings: Endings, what: string): string {
  const folder = mkdtempSync(join(tmpdir(), `bench-${what}-`));
  endings.add(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));
  return folder;
}
