import { z } from "zod";

/** Below a sandbox's path on the p69 provider surface: its working folder as a whole. Public relays have no such thing. */
export const TREE_PATH = "/tree";

/** How many files, folders and links a folder that is carried may hold. */
export const MAX_TREE_ENTRIES = 200_000;
/** How much a folder that is carried may hold unless a relay is told otherwise, in bytes of its files. */
export const DEFAULT_MAX_TREE_BYTES = 2 * 1024 ** 3;
/** The longest path in a folder and the longest text of a link, in bytes of UTF-8 (PATH_MAX of Linux, with its NUL). */
export const MAX_TREE_PATH_BYTES = 4095;
/** One line of a manifest: a path of control characters is six times as long in JSON, and the head names many. */
export const MAX_MANIFEST_LINE_BYTES = 1024 * 1024;
/** How many files one answer names; the counts beside them are true. */
export const MAX_NAMED_FILES = 100;
/** How many blobs travel in one pack, and about how many bytes: what is lost when a link breaks in the middle. */
export const MAX_PACK_BLOBS = 4_000;
export const MAX_PACK_BYTES = 32 * 1024 * 1024;

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const Mode = z.number().int().min(0).max(0o777);
const Size = z.number().int().min(0);

/** One thing in a folder. `path` is relative, with slashes; `mode` has the nine permission bits. */
export const TreeEntry = z.discriminatedUnion("kind", [
  z.strictObject({
    path: z.string(),
    kind: z.literal("file"),
    mode: Mode,
    size: Size,
    sha256: Sha256,
    /** Milliseconds since 1970. It is no part of the tree hash. */
    mtime_ms: z.number().int().min(0).max(8.64e15).optional(),
  }),
  z.strictObject({ path: z.string(), kind: z.literal("dir"), mode: Mode }),
  z.strictObject({ path: z.string(), kind: z.literal("symlink"), target: z.string() }),
]);
export type TreeEntry = z.infer<typeof TreeEntry>;
export type FileEntry = Extract<TreeEntry, { kind: "file" }>;

/** Why something does not travel. */
export const LeftBehindReason = z.enum([
  "secret",
  "ignored",
  "socket",
  "fifo",
  "device",
  "unreadable",
  "name_not_utf8",
  "path_too_long",
]);
export type LeftBehindReason = z.infer<typeof LeftBehindReason>;

export const LeftBehind = z.looseObject({ path: z.string(), reason: LeftBehindReason });
export type LeftBehind = z.infer<typeof LeftBehind>;

/**
 * The first line of a manifest; each further line is a {@link TreeEntry}, sorted by the bytes of its path.
 *
 * `tree_hash` is the SHA-256 of these lines, each ended by a newline, in the same order:
 * `JSON.stringify(["file", path, mode, size, sha256])`, `["dir", path, mode]` or `["symlink", path, target]`.
 */
export const ManifestHead = z.looseObject({
  tree_hash: Sha256,
  entries: z.number().int().min(0).max(MAX_TREE_ENTRIES),
  files: z.number().int().min(0),
  bytes: Size,
  /** Runs are under way in the folder, so it may change while it is read. */
  busy: z.boolean(),
  /** Files that git ignores and that look like secrets: none of this folder is given away while there are some. */
  refused: z.array(z.string()),
  refused_count: z.number().int().min(0),
  /** What is not among the entries, and why. */
  left_behind: z.array(LeftBehind),
  left_behind_count: z.number().int().min(0),
});
export type ManifestHead = z.infer<typeof ManifestHead>;

const Flag = z
  .enum(["0", "1"])
  .default("0")
  .transform((text) => text === "1");
/** Query of `GET .../tree`. */
export const ManifestQuery = z.strictObject({ leave_secrets: Flag, skip_ignored: Flag });

/** Query of `PUT .../tree/incoming/:carry`, whose body is a manifest: the hash of the tree that it may replace. */
export const IncomingQuery = z.strictObject({ replaces: Sha256.optional() });

/** Which carrying of a folder it is: a name that its sender makes, so that no other one's end is taken for its own. */
export const CarryId = z.string().regex(/^[\w-]{1,64}$/, "has to be a name of letters, digits, _ and -");

/** Answer of `PUT` and `GET .../tree/incoming/:carry`: what is still missing, a pack at a time. */
export const MissingBlobs = z.looseObject({
  tree_hash: Sha256,
  missing: z.number().int().min(0),
  missing_bytes: Size,
  /** What to send next. */
  blobs: z.array(z.looseObject({ sha256: Sha256, size: Size })).max(MAX_PACK_BLOBS),
  /** Files that came with other bytes than their manifest says. */
  changed: z.array(z.string()),
});
export type MissingBlobs = z.infer<typeof MissingBlobs>;

/** Body of `POST .../tree/blobs`; the answer is a pack of them, in this order. */
export const ReadBlobs = z.strictObject({ sha256: z.array(Sha256).min(1).max(MAX_PACK_BLOBS) });

/** Answer of `PUT .../tree/incoming/:carry/blobs`, whose body is a pack. */
export const WrittenBlobs = z.looseObject({
  stored: z.number().int().min(0),
  wrong: z.number().int().min(0),
});
export type WrittenBlobs = z.infer<typeof WrittenBlobs>;

/** Answer of `POST .../tree/incoming/:carry/apply`: what is in the folder now, by a look at the disk. */
export const AppliedTree = z.looseObject({
  tree_hash: Sha256,
  entries: z.number().int().min(0),
  files: z.number().int().min(0),
  bytes: Size,
});
export type AppliedTree = z.infer<typeof AppliedTree>;
