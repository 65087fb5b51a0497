import { CerverError } from "../../protocol/errors.js";
import { parse } from "../../protocol/parse.js";
import {
  MAX_MANIFEST_LINE_BYTES,
  MAX_TREE_PATH_BYTES,
  ManifestHead,
  TreeEntry,
} from "../../protocol/tree.js";
import { isStagingName } from "./staging-name.js";
import { type Tree, tooManyBytes } from "./tree.js";
import { byteText, TreeHash } from "./tree-hash.js";

/** A manifest that was read and can be trusted to stay inside of a folder. */
export interface Manifest {
  hash: string;
  entries: TreeEntry[];
  files: number;
  bytes: number;
}

const PIECE_LENGTH = 64 * 1024;
const MAX_NAME_BYTES = 255;
/** All of a manifest: names of usual length fit 200,000 times. */
const MAX_MANIFEST_BYTES = 96 * 1024 * 1024;

/** Writes a folder's manifest, in pieces. */
export function* encodeManifest(tree: Tree, busy: boolean): Generator<Uint8Array> {
  const { entries, hash, files, bytes, refused, leftBehind } = tree;
  const head: ManifestHead = {
    tree_hash: hash,
    entries: entries.length,
    files,
    bytes,
    busy,
    refused: refused.paths,
    refused_count: refused.count,
    left_behind: leftBehind.files,
    left_behind_count: leftBehind.count,
  };
  let text = `${JSON.stringify(head)}\n`;
  for (const entry of entries) {
    text += `${JSON.stringify(entry)}\n`;
    if (text.length < PIECE_LENGTH) continue;
    yield Buffer.from(text);
    text = "";
  }
  if (text !== "") yield Buffer.from(text);
}

/**
 * Reads a manifest that somebody sent, and refuses one that leads out of a folder, names a path twice, puts something
 * below what is no folder, or is not what its hash says.
 */
export async function decodeManifest(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Manifest> {
  let head: ManifestHead | undefined;
  const entries: TreeEntry[] = [];
  const folders = new Set<string>([""]);
  const sizes = new Map<string, number>();
  const hash = new TreeHash();
  let before = "";
  let files = 0;
  let bytes = 0;
  for await (const line of linesOf(body)) {
    if (!head) {
      head = parse(ManifestHead, jsonOf(line));
      continue;
    }
    const entry = parse(TreeEntry, jsonOf(line));
    const key = checkedPath(entry.path, folders);
    if (key <= before) throw refused(`"${entry.path}" is there twice or not in order`);
    before = key;
    if (entries.length >= head.entries) throw refused("it has more entries than it says");
    if (entry.kind === "dir") folders.add(entry.path);
    if (entry.kind === "symlink") checkTarget(entry.path, entry.target);
    if (entry.kind === "file") {
      if ((sizes.get(entry.sha256) ?? entry.size) !== entry.size) throw refused("one content has two sizes");
      sizes.set(entry.sha256, entry.size);
      files++;
      bytes += entry.size;
      if (bytes > maxBytes) throw tooManyBytes(maxBytes);
    }
    hash.add(entry);
    entries.push(entry);
  }
  if (!head) throw refused("it is empty");
  if (head.entries !== entries.length) throw refused("it has fewer entries than it says");
  if (hash.digest() !== head.tree_hash) throw refused("its entries are not those of its tree_hash");
  return { hash: head.tree_hash, entries, files, bytes };
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  let pending = 0;
  let all = 0;
  for await (const chunk of body) {
    all += chunk.length;
    if (all > MAX_MANIFEST_BYTES) throw refused(`it is longer than ${MAX_MANIFEST_BYTES / 1024 / 1024} MiB`);
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end));
      yield Buffer.concat(parts).toString("utf8");
      parts = [];
      pending = 0;
      from = end + 1;
    }
    parts.push(chunk.subarray(from));
    pending += chunk.length - from;
    if (pending > MAX_MANIFEST_LINE_BYTES) throw refused("a line of it is too long");
  }
  if (pending > 0) throw refused("its last line has no end");
}

/** A path's bytes, for comparing, if it stays in the folder and its parent is a folder of this manifest. */
function checkedPath(path: string, folders: ReadonlySet<string>): string {
  const key = byteText(path);
  const slash = path.lastIndexOf("/");
  if (!folders.has(slash < 0 ? "" : path.slice(0, slash))) {
    throw refused(`"${path}" is not in a folder that it names before`);
  }
  const name = path.slice(slash + 1);
  if (name === "" || name === "." || name === ".." || slash === 0) throw refused(`"${path}" leads elsewhere`);
  if (isStagingName(path)) throw refused(`"${path}" is a name of the relay's own`);
  if (key.length > MAX_TREE_PATH_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES)
    throw refused("a path is too long");
  if (path.includes("\0") || Buffer.from(path).toString() !== path) throw refused("a path is no text");
  return key;
}

function checkTarget(path: string, target: string): void {
  if (target === "" || target.includes("\0") || Buffer.byteLength(target) > MAX_TREE_PATH_BYTES) {
    throw refused(`the link "${path}" leads to what is no path`);
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw refused("a line of it is not JSON");
  }
}

function refused(why: string): CerverError {
  return new CerverError("invalid_request", `The manifest of the folder is refused: ${why}.`, {
    hint: "Nothing was written. A manifest is taken as `GET .../tree` gave it.",
  });
}
