import { createHash } from "node:crypto";
import type { TreeEntry } from "../../protocol/tree.js";

/** The SHA-256 over a folder's entries, in the form that `ManifestHead` documents. They have to be sorted. */
export class TreeHash {
  readonly #hash = createHash("sha256");

  add(entry: TreeEntry): void {
    this.#hash.update(`${canonical(entry)}\n`);
  }

  digest(): string {
    return this.#hash.digest("hex");
  }
}

export function treeHash(entries: Iterable<TreeEntry>): string {
  const hash = new TreeHash();
  for (const entry of entries) hash.add(entry);
  return hash.digest();
}

function canonical(entry: TreeEntry): string {
  switch (entry.kind) {
    case "file":
      return JSON.stringify(["file", entry.path, entry.mode, entry.size, entry.sha256]);
    case "dir":
      return JSON.stringify(["dir", entry.path, entry.mode]);
    case "symlink":
      return JSON.stringify(["symlink", entry.path, entry.target]);
  }
}

/** A text's UTF-8 as one character a byte: how paths are compared, whatever language they are in. */
export function byteText(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}
