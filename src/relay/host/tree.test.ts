import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { TreeEntry } from "../../protocol/tree.js";
import { silentLogger } from "../../util/logger.js";
import { decodeManifest, encodeManifest } from "./manifest.js";
import { Sandboxes } from "./sandboxes.js";
import { readTree, type Tree, type TreeOptions } from "./tree.js";
import { byteText, treeHash } from "./tree-hash.js";
import { Trees } from "./trees.js";

let root: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "cerver-tree-")));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const put = async (files: Record<string, string | Buffer>, below = root) => {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(below, path)), { recursive: true });
    await writeFile(join(below, path), content);
  }
};
const read = (options: Partial<TreeOptions> = {}) =>
  readTree(root, { maxBytes: 1e9, secrets: "refuse", ...options });
const paths = ({ entries }: Tree) => entries.map(({ path }) => path);

describe("a folder's manifest", () => {
  test("has a hash that stays the same from version to version", async () => {
    await put({ "b/c": "hello\n", a: "" });
    await chmod(join(root, "a"), 0o644);
    await chmod(join(root, "b"), 0o755);
    await chmod(join(root, "b/c"), 0o600);
    await symlink("b/c", join(root, "l"));
    const tree = await read();
    expect(tree.entries.map(({ mtime_ms: _, ...entry }: any) => entry)).toEqual([
      {
        path: "a",
        kind: "file",
        mode: 0o644,
        size: 0,
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      },
      { path: "b", kind: "dir", mode: 0o755 },
      {
        path: "b/c",
        kind: "file",
        mode: 0o600,
        size: 6,
        sha256: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
      },
      { path: "l", kind: "symlink", target: "b/c" },
    ]);
    // By `printf … | sha256sum` over the lines that src/protocol/tree.ts documents.
    expect(tree.hash).toBe(
      execFileSync("sha256sum", {
        input:
          '["file","a",420,0,"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]\n' +
          '["dir","b",493]\n' +
          '["file","b/c",384,6,"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"]\n' +
          '["symlink","l","b/c"]\n',
      })
        .toString()
        .slice(0, 64),
    );
    expect(tree).toMatchObject({ files: 2, bytes: 6 });
  });

  test("is sorted by bytes, so a folder stands before what is in it, and follows no link", async () => {
    await put({ "a/x": "", "a-b": "", "a.b": "", é: "", z: "", "\u{1F600}": "" });
    await symlink("/etc", join(root, "etc"));
    expect(paths(await read())).toEqual(
      ["a", "a-b", "a.b", "a/x", "etc", "z", "é", "\u{1F600}"].sort((x, y) =>
        byteText(x) < byteText(y) ? -1 : 1,
      ),
    );
  });

  test("refuses secrets that git ignores, wherever the rule stands, and no others", async () => {
    await put({
      ".gitignore": "*.pem\n.env\nbuild/\n",
      ".env": "S=1",
      "tls/a.pem": "",
      "build/out.js": "",
      "build/.env.production": "",
      "kept/.env.test": "not ignored",
      "sub/.gitignore": "!.env\nid_rsa\n",
      "sub/.env": "taken back in",
      "sub/id_rsa": "",
      ".git/info/exclude": "credentials.json\n",
      "credentials.json": "{}",
      ".git/id_rsa": "in .git nothing is ignored",
      "nested/.git/info/exclude": "*.key\n",
      "nested/a.key": "",
    });
    const tree = await read();
    expect(tree.refused.paths.sort()).toEqual(
      [".env", "build/.env.production", "credentials.json", "nested/a.key", "sub/id_rsa", "tls/a.pem"].sort(),
    );
    expect(paths(tree)).toEqual(
      expect.arrayContaining(["build/out.js", "kept/.env.test", "sub/.env", ".git/id_rsa"]),
    );
    expect(paths(tree)).not.toContain(".env");

    const left = await read({ secrets: "leave" });
    expect(left.refused.count).toBe(0);
    expect(left.leftBehind.files).toContainEqual({ path: "sub/id_rsa", reason: "secret" });
    expect(left.hash).toBe(tree.hash);

    const skipped = await read({ skipIgnored: true });
    expect(skipped.refused.count).toBe(0);
    expect(paths(skipped).some((path) => path.startsWith("build"))).toBe(false);
    expect(skipped.leftBehind.files).toContainEqual({ path: "build/", reason: "ignored" });
  });

  test("names sockets, pipes and names that are no text as left behind", async () => {
    const server = createServer().listen(join(root, "socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    execFileSync("mkfifo", [join(root, "pipe")]);
    await writeFile(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x61, 0xff])]), "");
    const tree = await read();
    server.close();
    expect(tree.entries).toEqual([]);
    expect(tree.leftBehind.files.map(({ reason }) => reason).sort()).toEqual([
      "fifo",
      "name_not_utf8",
      "socket",
    ]);
  });

  test("has bounds that are said", async () => {
    await put({ a: "12345", b: "67890" });
    await expect(read({ maxBytes: 9 })).rejects.toMatchObject({ code: "too_large" });
    await expect(read({ maxEntries: 1 })).rejects.toMatchObject({
      code: "too_large",
      message: "The folder holds more than 1 files and folders, as many as are carried.",
    });
    const rules = "*x\n".repeat(9_000);
    await put({ "d/.gitignore": rules, "e/.gitignore": rules });
    expect((await read()).files).toBe(4);
    await put({ "d/f/.gitignore": rules });
    await expect(read()).rejects.toMatchObject({
      code: "too_large",
      message: expect.stringContaining('in the folder "d/f"'),
    });
    await expect(read({ signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow("gone");
  });
});

const asStream = (lines: unknown[]) =>
  ReadableStream.from([Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""))]);
const sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
const manifestOf = (entries: unknown[], more: object = {}) => [
  {
    tree_hash: treeHash(entries as TreeEntry[]),
    entries: entries.length,
    files: 0,
    bytes: 0,
    busy: false,
    refused: [],
    refused_count: 0,
    left_behind: [],
    left_behind_count: 0,
    ...more,
  },
  ...entries,
];
const file = (path: string, more: object = {}) => ({
  path,
  kind: "file",
  mode: 0o644,
  size: 6,
  sha256,
  ...more,
});
const dir = (path: string) => ({ path, kind: "dir", mode: 0o755 });
const decode = (lines: unknown[], maxBytes = 1e9) => decodeManifest(asStream(lines), maxBytes);

describe("a manifest that is sent", () => {
  test("is read as it was written", async () => {
    await put({ "a/b": "x", "odd\nname": "y" });
    const tree = await read();
    const manifest = await decodeManifest(ReadableStream.from(encodeManifest(tree, false)), 1e9);
    expect(manifest).toEqual({ hash: tree.hash, entries: tree.entries, files: 2, bytes: 2 });
  });

  test.each<[why: string, lines: unknown[]]>([
    ["leads up", manifestOf([file("..")])],
    ["leads up from below", manifestOf([dir("a"), file("a/..")])],
    ["leads up and out by a folder", manifestOf([dir(".."), file("../x")])],
    ["is absolute", manifestOf([file("/etc/passwd")])],
    ["is absolute by an empty folder", manifestOf([dir(""), file("/x")])],
    ["is a dot", manifestOf([file(".")])],
    ["has an empty name", manifestOf([dir("a"), file("a//b")])],
    ["has a NUL", manifestOf([file("a\0b")])],
    ["has half a character", manifestOf([file("a\ud800")])],
    ["has too long a name", manifestOf([file("a".repeat(256))])],
    ["is below a link", manifestOf([{ path: "a", kind: "symlink", target: "/etc" }, file("a/passwd")])],
    ["is below a file", manifestOf([file("a"), file("a/b")])],
    ["is below nothing", manifestOf([file("a/b")])],
    ["is there twice", manifestOf([file("a"), file("a")])],
    ["is a file and a link", manifestOf([file("a"), { path: "a", kind: "symlink", target: "/etc" }])],
    ["is not in order", manifestOf([file("b"), file("a")])],
    ["has special bits", manifestOf([file("a", { mode: 0o4755 })])],
    ["has no hash", manifestOf([file("a", { sha256: "../../x" })])],
    ["has two sizes", manifestOf([file("a"), file("b", { size: 7 })])],
    ["leads nowhere", manifestOf([{ path: "a", kind: "symlink", target: "" }])],
    ["is a device", manifestOf([{ path: "a", kind: "device" }])],
    ["has another hash than its entries", manifestOf([file("a")], { tree_hash: sha256 })],
    ["has more entries than it says", manifestOf([file("a"), file("b")], { entries: 1 })],
    ["has fewer entries than it says", manifestOf([file("a")], { entries: 2 })],
    ["says too many", manifestOf([file("a")], { entries: 200_001 })],
    ["has no head", [file("a")]],
    ["is empty", []],
  ])("is refused when it %s", async (_, lines) => {
    await expect(decode(lines)).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("is refused when it holds too much or a line is endless", async () => {
    await expect(decode(manifestOf([file("a", { size: 100 })]), 99)).rejects.toMatchObject({
      code: "too_large",
    });
    const endless = ReadableStream.from(
      (function* () {
        for (;;) yield Buffer.alloc(65536, "x");
      })(),
    );
    await expect(decodeManifest(endless, 1e9)).rejects.toMatchObject({ code: "invalid_request" });
  });
});

test("any folder comes to another sandbox with an equal hash", async () => {
  const open = async (name: string) => {
    const stateDir = join(root, name);
    const sandboxes = await Sandboxes.open({ stateDir, hostEnv: {}, allowDirs: [] });
    return {
      sandboxes,
      trees: await Trees.open({ sandboxes, stateDir, maxBytes: 1e9, logger: silentLogger }),
    };
  };
  const [a, b] = [await open("a"), await open("b")];
  const { signal } = new AbortController();
  const name = fc
    .string({
      unit: fc.constantFrom("a", "b", ".", " ", "é", "\u{1F600}", "\n", "-", '"', "\\", "*"),
      minLength: 1,
      maxLength: 4,
    })
    .filter((text) => text !== "." && text !== "..");
  const mode = fc.integer({ min: 0, max: 0o777 }).map((bits) => bits | 0o400);
  const leaf = fc.oneof(
    fc.record({ kind: fc.constant("file" as const), content: fc.uint8Array({ maxLength: 300 }), mode }),
    fc.record({
      kind: fc.constant("symlink" as const),
      target: fc.constantFrom("a", "../..", "/etc/passwd", "é"),
    }),
    fc.record({ kind: fc.constant("dir" as const), mode: mode.map((bits) => bits | 0o700) }),
  );
  const things = fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 3 }), leaf), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(things, async (made) => {
      const request = { engine: "shell", metadata: {} };
      const [from, to] = [await a.sandboxes.create(request), await b.sandboxes.create(request)];
      for (const [parts, thing] of made) {
        const path = join(from.folder, ...parts);
        // What is in the way of another thing stays as it is.
        await (async () => {
          await mkdir(dirname(path), { recursive: true });
          if (thing.kind === "dir") await mkdir(path, { mode: thing.mode });
          else if (thing.kind === "symlink") await symlink(thing.target, path);
          else await writeFile(path, thing.content, { mode: thing.mode, flag: "wx" });
        })().catch((error) =>
          expect(["EEXIST", "ENOTDIR", "ENOENT", "EACCES", "ELOOP"]).toContain(error.code),
        );
      }
      const body = await a.trees.manifest(
        from,
        { leaveSecrets: true, skipIgnored: false, busy: false },
        signal,
      );
      let { blobs, tree_hash } = await b.trees.expect(to, "c", { body, replaces: undefined }, signal);
      while (blobs.length > 0) {
        const hashes = blobs.map(({ sha256 }) => sha256);
        await b.trees.write(to, "c", a.trees.read(from, hashes, signal), signal);
        ({ blobs } = b.trees.missing(to, "c"));
      }
      expect((await b.trees.apply(to, "c", signal)).tree_hash).toBe(tree_hash);
      const looks = [from, to].map(({ folder }) => readTree(folder, { maxBytes: 1e9, secrets: "carry" }));
      const [before, after] = await Promise.all(looks);
      expect(after).toEqual(before);
      await a.sandboxes.delete(from.id);
      await b.sandboxes.delete(to.id);
    }),
    { numRuns: 60 },
  );
  await a.trees.close();
  await b.trees.close();
}, 120_000);
