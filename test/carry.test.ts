import { createHash, randomBytes } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { type CarryEnd, type CarryOptions, carryFolder } from "../src/gateway/compute/carry.js";
import { type ComputeFetch, p69Provider } from "../src/gateway/compute/providers/p69.js";
import { CerverError } from "../src/protocol/errors.js";
import type { TreeEntry } from "../src/protocol/tree.js";
import { Staging } from "../src/relay/host/staging.js";
import { readTree } from "../src/relay/host/tree.js";
import { treeHash } from "../src/relay/host/tree-hash.js";
import { Channel } from "../src/tunnel/channel.js";
import { wsSocket } from "../src/tunnel/ws-socket.js";
import { eachOf } from "../src/util/each-of.js";
import { silentLogger } from "../src/util/logger.js";
import { openCompute } from "./compute.js";

type Compute = Awaited<ReturnType<typeof openCompute>>;

let scratch: string;
let left: Compute;
let right: Compute;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "cerver-carry-"));
  left = await openCompute(join(scratch, "left"), { HOME: scratch });
  right = await openCompute(join(scratch, "right"), { HOME: scratch });
});
afterAll(async () => {
  await left.close();
  await right.close();
  await rm(scratch, { recursive: true, force: true });
});

/** A sandbox of a compute, as one side of a carrying. `fetchCompute` may tamper with what passes. */
async function sandbox(
  compute: Compute,
  {
    signal = new AbortController().signal,
    via = async (request: Request) => compute.app.fetch(request),
    metadata = {} as Record<string, unknown>,
  } = {},
): Promise<CarryEnd & { folder: string }> {
  const fetchCompute: ComputeFetch = (_, request) => Promise.resolve(via(request));
  const adapter = p69Provider(fetchCompute);
  const env = { accountId: "a", computeId: "c", signal, credentials: {} };
  const record = await p69Provider(async (_, request) => compute.app.fetch(request)).createSandbox(
    { engine: "shell", metadata },
    env,
  );
  return { adapter, record, env, folder: compute.sandboxes.get(record.sandboxId).folder };
}
/** Beside a sandbox's own folder when no move is under way. */
const SETTLED = ["sandbox.json", "work"];
const plain: CarryOptions = { leaveSecrets: false, skipIgnored: false };

async function put(folder: string, files: Record<string, string | Buffer>) {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}

/** What is in a folder, by a second look that shares no code with the relay. */
function snapshot(folder: string, at = ""): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of readdirSync(join(folder, at)).sort()) {
    const path = at === "" ? name : `${at}/${name}`;
    const stat = lstatSync(join(folder, path));
    if (stat.isSymbolicLink()) found[path] = `-> ${readlinkSync(join(folder, path))}`;
    else if (stat.isDirectory()) {
      found[path] = `dir ${(stat.mode & 0o7777).toString(8)}`;
      Object.assign(found, snapshot(folder, path));
    } else if (stat.isFile()) {
      const hash = createHash("sha256").update(readFileSync(join(folder, path)));
      found[path] = `file ${(stat.mode & 0o7777).toString(8)} ${hash.digest("hex")}`;
    } else found[path] = "other";
  }
  return found;
}
const failureOf = (promise: Promise<unknown>): Promise<CerverError> =>
  promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (error) => error,
  );

describe("a working folder is carried", () => {
  test("with 2,000 files, modes, links, odd names, empty folders and 50 MB, and sends only what changed the second time", async () => {
    const from = await sandbox(left);
    await eachOf(Array.from({ length: 2000 }).keys(), 8, (index) =>
      put(from.folder, { [`src/${index % 40}/file ${index}.txt`]: `content ${index}\n` }),
    );
    const big = randomBytes(50 * 1024 * 1024);
    await put(from.folder, {
      big,
      "big copy": big,
      empty: "",
      "ünï/cödé ☃ \u{1F600}": "x",
      "odd\nname\t\"'\\$`": "y",
      " -rf *": "z",
      "decomposed e\u0301": "w",
      "run.sh": "#!/bin/sh\n",
      private: "p",
      ".git/config": "[core]\n",
      ".git/objects/ab/cd": randomBytes(1000),
    });
    await mkdir(join(from.folder, "empty dir/deeper"), { recursive: true });
    await chmod(join(from.folder, "run.sh"), 0o755);
    await chmod(join(from.folder, "private"), 0o600);
    await chmod(join(from.folder, "src/3"), 0o555);
    await symlink("run.sh", join(from.folder, "link"));
    await symlink("/etc/passwd", join(from.folder, "link out"));
    await symlink("../../nowhere", join(from.folder, "src/dangling"));
    await utimes(join(from.folder, "run.sh"), new Date(), new Date("2020-02-02T02:02:02Z"));
    const before = snapshot(from.folder);

    const to = await sandbox(right);
    const progress: number[] = [];
    const report = await carryFolder(from, to, {
      ...plain,
      onProgress: ({ bytes_left }) => progress.push(bytes_left),
    });
    expect(snapshot(to.folder)).toEqual(before);
    expect(snapshot(from.folder)).toEqual(before);
    expect((await lstat(join(to.folder, "run.sh"))).mtime).toEqual(new Date("2020-02-02T02:02:02Z"));
    expect(report).toMatchObject({ files: 2011, left_behind: [], refused: [] });
    expect(report.bytes_total).toBeGreaterThan(100 * 1024 * 1024);
    expect(report.bytes_sent).toBeLessThan(51 * 1024 * 1024);
    expect(progress.at(-1)).toBe(0);
    expect(await readdir(dirname(to.folder))).toEqual(SETTLED);

    await put(from.folder, { "src/1/new": "new", "run.sh": "#!/bin/sh\necho\n" });
    const again = await carryFolder(from, to, { ...plain, replaces: report.tree_hash });
    expect(again.bytes_sent).toBe("new".length + "#!/bin/sh\necho\n".length);
    expect(snapshot(to.folder)).toEqual(snapshot(from.folder));
    expect(again.tree_hash).not.toBe(report.tree_hash);
    const same = await carryFolder(from, to, plain);
    expect(same).toMatchObject({ bytes_sent: 0, tree_hash: again.tree_hash });

    // A new sandbox finds what came before in the cache.
    await right.trees.idle();
    const fresh = await sandbox(right);
    expect((await carryFolder(from, fresh, plain)).bytes_sent).toBe(0);
    expect(snapshot(fresh.folder)).toEqual(snapshot(from.folder));
  }, 120_000);
});

describe("a carrying is refused", () => {
  test("when secrets that git ignores would travel, until they are to be left behind", async () => {
    const from = await sandbox(left);
    await put(from.folder, {
      ".gitignore": ".env\n*.pem\nout/\n",
      ".env": "SECRET=1",
      "tls/key.pem": "k",
      "out/x": "o",
      a: "a",
    });
    const to = await sandbox(right);
    const refusal = await failureOf(carryFolder(from, to, plain));
    expect(refusal).toMatchObject({
      code: "conflict",
      details: { refused: [".env", "tls/key.pem"], refused_count: 2 },
    });
    expect(refusal.message).toContain(".env, tls/key.pem");
    expect(snapshot(to.folder)).toEqual({});

    // The relay itself gives nothing away of such a folder, whatever it is asked.
    const { signal } = new AbortController();
    const env = { computeId: "c", signal };
    const folder = from.adapter.folder!;
    await (await folder.manifest(from.record, plain, env)).cancel();
    const hash = (text: string) => createHash("sha256").update(text).digest("hex");
    expect(await failureOf(folder.read(from.record, [hash("a")], env))).toMatchObject({ code: "conflict" });
    await (await folder.manifest(from.record, { ...plain, leaveSecrets: true }, env)).cancel();
    expect(await failureOf(folder.read(from.record, [hash("SECRET=1")], env))).toMatchObject({
      code: "file_not_found",
    });

    const report = await carryFolder(from, to, { ...plain, leaveSecrets: true });
    expect(report.refused).toEqual([".env", "tls/key.pem"]);
    expect(Object.keys(snapshot(to.folder))).toEqual([".gitignore", "a", "out", "out/x", "tls"]);
    const bare = await sandbox(right);
    expect((await carryFolder(from, bare, { ...plain, skipIgnored: true })).left_behind).toEqual([
      { path: ".env", reason: "secret" },
      { path: "out/", reason: "ignored" },
      { path: "tls/key.pem", reason: "secret" },
    ]);
    expect(Object.keys(snapshot(bare.folder))).toEqual([".gitignore", "a", "tls"]);
  });

  test("when the other folder is not empty, whose content stays", async () => {
    const [from, to] = [await sandbox(left), await sandbox(right)];
    await put(from.folder, { a: "a" });
    await put(to.folder, { mine: "m" });
    expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({ code: "conflict" });
    expect(await failureOf(carryFolder(from, to, { ...plain, replaces: "0".repeat(64) }))).toMatchObject({
      code: "conflict",
    });
    expect(await readFile(join(to.folder, "mine"), "utf8")).toBe("m");
  });

  test("when runs are under way on either side", async () => {
    const [from, to] = [await sandbox(left), await sandbox(right)];
    await put(from.folder, { a: "a" });
    const cancel = new AbortController();
    for (const { adapter, record, env } of [from, to]) {
      const request = {
        code: "sleep 60",
        runtime: "shell" as const,
        background: true,
        run_id: `run_${record.sandboxId}`,
      };
      await adapter.durable!.start(record, request as any, { ...env, signal: cancel.signal });
      expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({
        code: "conflict",
        message: expect.stringMatching(/^Runs are under way/),
      });
      await adapter.durable!.cancel({ computeId: "c", runId: request.run_id }, env);
    }
    expect(snapshot(to.folder)).toEqual({});
    expect((await carryFolder(from, to, plain)).files).toBe(1);
  });

  test("when runs of another sandbox are under way in the same folder, in one above or one below", async () => {
    const home = await realpath(await mkdtemp(join(scratch, "shared-")));
    await mkdir(join(home, "work/below"), { recursive: true });
    await mkdir(join(home, "work beside"));
    const shared = await openCompute(join(home, "state"), { HOME: scratch }, { allowDirs: [home] });
    const at = (folder: string) => sandbox(shared, { metadata: { working_dir: join(home, folder) } });
    const from = await at("work");
    for (const [index, folder] of ["work", "work/below", "", "work beside"].entries()) {
      const { adapter, record, env } = await at(folder);
      const request = {
        code: "sleep 60",
        runtime: "shell" as const,
        background: true,
        run_id: `run_shared_${index}`,
      };
      await adapter.durable!.start(record, request as any, env);
      const carrying = carryFolder(from, await sandbox(right), plain);
      if (folder === "work beside") await carrying;
      else expect(await failureOf(carrying)).toMatchObject({ message: expect.stringMatching(/^Runs are/) });
      await adapter.durable!.cancel({ computeId: "c", runId: request.run_id }, env);
    }
    await shared.close();
  });

  test("when another one into the same folder came first, though by another sandbox", async () => {
    const home = await realpath(await mkdtemp(join(scratch, "raced-")));
    const work = join(home, "work");
    const names = Array.from({ length: 300 }, (_, index) => `f${index}`);
    await put(work, Object.fromEntries(names.map((name) => [name, "before"])));
    const shared = await openCompute(join(home, "state"), { HOME: scratch }, { allowDirs: [home] });
    const { hash: replaces } = await readTree(work, { maxBytes: 1e6, secrets: "carry" });
    const moves = await Promise.all(
      ["one", "two"].map(async (content) => {
        const from = await sandbox(left);
        await put(from.folder, Object.fromEntries(names.map((name) => [name, content])));
        const to = await sandbox(shared, { metadata: { working_dir: work } });
        return carryFolder(from, to, { ...plain, replaces }).then(
          () => content,
          ({ code }: CerverError) => code,
        );
      }),
    );
    const [won, ...others] = moves.filter((end) => end !== "conflict");
    expect(others).toEqual([]);
    expect(await readdir(work)).toHaveLength(names.length);
    for (const name of names) expect(await readFile(join(work, name), "utf8")).toBe(won);
    await shared.close();
  });

  test("with words when one side cannot: a provider without it, a public relay, an older relay", async () => {
    const from = await sandbox(left);
    await put(from.folder, { a: "a" });
    const to = await sandbox(right);
    const { folder: _, ...without } = to.adapter;
    expect(await failureOf(carryFolder(from, { ...to, adapter: without }, plain))).toMatchObject({
      code: "unsupported",
    });
    for (const answer of [
      Response.json({ detail: "Not Found" }, { status: 404 }),
      Response.json({ error: "Method not allowed" }, { status: 405 }),
      Response.json(new CerverError("not_found", "This relay serves no such thing.").toBody(), {
        status: 404,
      }),
    ]) {
      const old = { ...to, adapter: p69Provider(async () => answer.clone()) };
      expect(await failureOf(carryFolder(from, old, plain))).toMatchObject({ code: "unsupported" });
      expect(await failureOf(carryFolder(old, to, plain))).toMatchObject({ code: "unsupported" });
    }
    const gone = { ...to, record: { ...to.record, sandboxId: "sbx_gone" } };
    expect(await failureOf(carryFolder(from, gone, plain))).toMatchObject({ code: "sandbox_not_found" });
  });
});

describe("a carrying that fails in the middle", () => {
  test("because the receiver's link broke leaves nothing half done there, also after its relay starts again", async () => {
    const home = join(scratch, "third");
    let third = await openCompute(home, { HOME: scratch });
    const from = await sandbox(left);
    for (let index = 0; index < 50; index++)
      await put(from.folder, { [`d/${index}`]: randomBytes(1024 * 1024) });
    const before = snapshot(from.folder);
    // The link is cut when the second pack is under way, and stays so.
    let packs = 0;
    let cut = false;
    const to = await sandbox(third, {
      via: async (request) => {
        if (cut) throw new CerverError("compute_offline", "No relay is connected.");
        if (request.method !== "PUT" || !request.url.endsWith("/blobs") || ++packs < 2)
          return third.app.fetch(request);
        const reader = request.body!.getReader();
        const link = new AbortController();
        const body = new ReadableStream<Uint8Array>({
          async pull(controller) {
            const { value, done } = await reader.read();
            if (done) controller.close();
            else if (packs++ < 40) controller.enqueue(value);
            else {
              cut = true;
              await reader.cancel();
              link.abort(new Error("lost"));
              controller.error(new Error("lost"));
            }
          },
        });
        const init = { method: "PUT", body, duplex: "half" as const, signal: link.signal };
        await third.app.fetch(new Request(request.url, init));
        throw new CerverError("compute_lost", "The link to the compute broke.");
      },
    });
    expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({ code: "compute_lost" });
    expect(cut).toBe(true);
    expect(snapshot(to.folder)).toEqual({});
    expect(snapshot(from.folder)).toEqual(before);
    const staged = (await readdir(dirname(to.folder))).find((name) => name.startsWith(".cerver-incoming-"))!;
    expect((await readdir(join(dirname(to.folder), staged, "blobs"))).length).toBeGreaterThan(0);
    await third.close();
    expect(await readdir(dirname(to.folder))).toEqual(SETTLED);

    // The same by a relay that was killed: the next one finds what is left.
    await put(to.folder, { kept: "k" });
    const staging = new Staging(third.sandboxes.stagingPlace(third.sandboxes.get(to.record.sandboxId)));
    await staging.make();
    await put(staging.path, { "blobs/x": "x", "tree/half": "h" });
    await staging.takeOut();
    await staging.bringIn(join(staging.path, "tree"));
    expect(Object.keys(snapshot(to.folder))).toEqual(["half"]);
    third = await openCompute(home, { HOME: scratch });
    expect(Object.keys(snapshot(to.folder))).toEqual(["kept"]);
    expect(await readdir(dirname(to.folder))).toEqual(SETTLED);
    await third.close();
  }, 60_000);

  test("because it was aborted empties the receiver's folder again", async () => {
    for (const stop of ["/blobs", "/apply", "/apply done"]) {
      const abort = new AbortController();
      const from = await sandbox(left, { signal: abort.signal });
      await put(from.folder, { a: randomBytes(1000), "b/c": stop });
      const to = await sandbox(right, {
        via: async (request) => {
          if (request.url.endsWith(stop)) abort.abort(new Error("the caller is gone"));
          const response = await right.app.fetch(request);
          if (`${request.url} done`.endsWith(stop)) abort.abort(new Error("the caller is gone"));
          return response;
        },
      });
      expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({ message: "the caller is gone" });
      expect(snapshot(to.folder)).toEqual({});
      expect(await readdir(dirname(to.folder))).toEqual(SETTLED);
      expect(Object.keys(snapshot(from.folder))).toEqual(["a", "b", "b/c"]);
    }
  });

  test("because files go on changing names them; one that changed once is read again", async () => {
    for (const changes of [1, 5]) {
      let left_changes = changes;
      const from = await sandbox(left, {
        via: async (request) => {
          if (request.url.endsWith("/blobs") && left_changes-- > 0) {
            await writeFile(join(from.folder, "moving target"), randomBytes(2000 + left_changes));
          }
          return left.app.fetch(request);
        },
      });
      await put(from.folder, { "moving target": randomBytes(3000), still: "s" });
      const to = await sandbox(right);
      const carrying = carryFolder(from, to, plain);
      if (changes === 1) {
        expect((await carrying).files).toBe(2);
        expect(snapshot(to.folder)).toEqual(snapshot(from.folder));
      } else {
        expect(await failureOf(carrying)).toMatchObject({
          code: "conflict",
          details: { changed: ["moving target"] },
        });
        expect(snapshot(to.folder)).toEqual({});
      }
    }
  });

  test("because a file is swapped for a link sends nothing from outside", async () => {
    await writeFile(join(scratch, "outside"), "the outside".repeat(10));
    const sent: Buffer[] = [];
    const from = await sandbox(left, {
      via: async (request) => {
        if (!request.url.endsWith("/blobs")) return left.app.fetch(request);
        await rm(join(from.folder, "d"), { recursive: true });
        await symlink(scratch, join(from.folder, "d"));
        const bytes = Buffer.from(await (await left.app.fetch(request)).arrayBuffer());
        sent.push(bytes);
        return new Response(bytes);
      },
    });
    await put(from.folder, { "d/outside": "inside" });
    const to = await sandbox(right);
    await carryFolder(from, to, plain).catch(() => {});
    expect(sent).toHaveLength(1);
    expect(Buffer.concat(sent).includes("the outside")).toBe(false);
    expect(Object.keys(snapshot(to.folder))).toEqual(["d"]);
  });
});

describe("a receiver", () => {
  const hash = (bytes: string | Buffer) => createHash("sha256").update(bytes).digest("hex");
  const env = { accountId: "a", computeId: "c", signal: new AbortController().signal, credentials: {} };
  async function begun() {
    const from = await sandbox(left);
    await put(from.folder, { a: "aaaa", b: "bbbb" });
    const to = await sandbox(right);
    const folder = to.adapter.folder!;
    const manifest = await from.adapter.folder!.manifest(from.record, plain, env);
    await folder.expect(to.record, "one", { manifest, replaces: undefined }, env);
    return { from, to, folder };
  }
  const packed = (sha256: string, content: string) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(content.length);
    return Buffer.concat([Buffer.from(sha256, "hex"), length, Buffer.from(content), Buffer.alloc(4)]);
  };
  const stream = (bytes: Buffer) => ReadableStream.from([bytes]) as ReadableStream<Uint8Array>;

  /** A manifest whose hash is right, whatever its entries are. */
  function manifestOf(entries: TreeEntry[]) {
    const head = {
      tree_hash: treeHash(entries),
      entries: entries.length,
      files: entries.length,
      bytes: 0,
      busy: false,
      refused: [],
      refused_count: 0,
      left_behind: [],
      left_behind_count: 0,
    };
    return stream(Buffer.from([head, ...entries].map((line) => `${JSON.stringify(line)}\n`).join("")));
  }

  test("drops contents that are not what they say, and names them", async () => {
    const { to, folder } = await begun();
    const pack = Buffer.concat([packed(hash("aaaa"), "AAAA"), packed(hash("bbbb"), "bbbb")]);
    expect(await folder.write(to.record, "one", stream(pack), env)).toEqual({ stored: 1, wrong: 1 });
    expect(await folder.missing(to.record, "one", env)).toMatchObject({ missing: 0, changed: ["a"] });
    expect(await failureOf(folder.apply(to.record, "one", env))).toMatchObject({ code: "conflict" });
    expect(snapshot(to.folder)).toEqual({});
  });

  test.each<[what: string, pack: Buffer]>([
    ["a content that nobody named", packed(hash("other"), "other")],
    ["more than a file has", packed(hash("aaaa"), "a".repeat(1000))],
    ["half a content", packed(hash("aaaa"), "aaaa").subarray(0, 38)],
    ["a chunk of 4 GiB", Buffer.concat([Buffer.from(hash("aaaa"), "hex"), Buffer.alloc(4, 0xff)])],
  ])("refuses a pack with %s", async (_, pack) => {
    const { to, folder } = await begun();
    expect(await failureOf(folder.write(to.record, "one", stream(pack), env))).toMatchObject({
      code: "invalid_request",
    });
    await folder.discard(to.record, "one", env);
    expect(snapshot(to.folder)).toEqual({});
  });

  test("keeps one carrying from the words of another, and its end too", async () => {
    const { to, from, folder } = await begun();
    expect(await failureOf(folder.apply(to.record, "two", env))).toMatchObject({ code: "conflict" });
    await folder.discard(to.record, "two", env);
    const pack = await from.adapter.folder!.read(from.record, [hash("aaaa"), hash("bbbb")], env);
    await folder.write(to.record, "one", pack, env);
    expect((await folder.apply(to.record, "one", env)).files).toBe(2);
    await folder.discard(to.record, "two", env);
    expect(Object.keys(snapshot(to.folder))).toEqual(["a", "b"]);
    // A change since belongs to somebody: an end that comes late does not take it away.
    await put(to.folder, { work: "w" });
    await folder.discard(to.record, "one", env);
    expect(Object.keys(snapshot(to.folder))).toEqual(["a", "b", "work"]);
  });

  test("writes nothing outside for a manifest that leads out", async () => {
    const to = await sandbox(right);
    const manifest = manifestOf([
      { path: "../../../escaped", kind: "file", mode: 420, size: 1, sha256: hash("x") },
    ]);
    const everything = () => Object.keys(snapshot(join(scratch, "right", "sandboxes")));
    const before = everything();
    expect(
      await failureOf(to.adapter.folder!.expect(to.record, "x", { manifest, replaces: undefined }, env)),
    ).toMatchObject({
      code: "invalid_request",
      message: expect.stringContaining('"../../../escaped" is not in a folder that it names before'),
    });
    expect(everything()).toEqual(before);
  });

  test("takes a folder of its user's own when that is empty", async () => {
    const own = join(scratch, "own");
    await mkdir(own);
    const fourth = await openCompute(join(scratch, "fourth"), { HOME: scratch }, { allowDirs: [scratch] });
    const from = await sandbox(left);
    await put(from.folder, { "a/b": "c" });
    const to = await sandbox(fourth);
    const record = await to.adapter.createSandbox(
      { engine: "shell", metadata: { working_dir: own } },
      { ...to.env, accountId: "a", credentials: {} },
    );
    await carryFolder(from, { ...to, record }, plain);
    expect(Object.keys(snapshot(own))).toEqual(["a", "a/b"]);
    await fourth.close();
  });

  test.each([".cerver-incoming", `.cerver-incoming-${"0".repeat(32)}`])(
    "leaves a folder of its user's own as it is when that holds %s, which looks like a move that was cut off",
    async (name) => {
      const home = await mkdtemp(join(scratch, "own-"));
      const [own, elsewhere] = [join(home, "own"), join(home, "elsewhere")];
      await put(home, { "elsewhere/theirs": "t", "own/mine": "m" });
      await put(join(own, name), { moving: "", "move.json": "{}", "old/x": "x" });
      const open = () => openCompute(join(home, "state"), { HOME: scratch }, { allowDirs: [home] });
      const first = await open();
      const to = await sandbox(first, { metadata: { working_dir: own } });
      const before = [snapshot(own), snapshot(elsewhere)];
      const now = () => [snapshot(own), snapshot(elsewhere)];
      const from = await sandbox(left);
      await put(from.folder, { a: "a" });

      expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({ code: "conflict" });
      expect(now()).toEqual(before);
      await first.close();
      const second = await open();
      expect(now()).toEqual(before);
      await second.close();

      await rm(join(own, name, "old"), { recursive: true });
      await symlink(elsewhere, join(own, name, "old"));
      const linked = now();
      await (await open()).close();
      expect(now()).toEqual(linked);
    },
  );

  test("neither takes nor replaces what has the name of a place for moves", async () => {
    const name = `.cerver-incoming-${"0".repeat(32)}`;
    const to = await sandbox(right);
    await put(to.folder, { [`${name}/x`]: "x", old: "o" });
    const { hash: replaces } = await readTree(to.folder, { maxBytes: 1000, secrets: "carry" });
    const from = await sandbox(left);
    await put(from.folder, { a: "a", [`${name}/y`]: "y" });
    await carryFolder(from, to, { ...plain, replaces });
    expect(Object.keys(snapshot(to.folder))).toEqual([name, `${name}/x`, "a"]);

    const manifest = manifestOf([{ path: name, kind: "dir", mode: 0o700 }]);
    expect(
      await failureOf(to.adapter.folder!.expect(to.record, "x", { manifest, replaces: undefined }, env)),
    ).toMatchObject({ code: "invalid_request", message: expect.stringContaining("name of the relay's own") });
  });

  test("does not forget a move while a pack of it is coming, however slowly, and forgets one that is idle", async () => {
    const idleMs = 400;
    const slow = await openCompute(join(scratch, "slow"), { HOME: scratch }, { treeIdleMs: idleMs });
    const from = await sandbox(left);
    await put(from.folder, { a: "aaaa", b: "bbbb" });
    const to = await sandbox(slow);
    const folder = to.adapter.folder!;
    const manifest = await from.adapter.folder!.manifest(from.record, plain, env);
    await folder.expect(to.record, "one", { manifest, replaces: undefined }, env);
    const pack = Buffer.concat([packed(hash("aaaa"), "aaaa"), packed(hash("bbbb"), "bbbb")]);
    async function* trickle() {
      for (let at = 0; at < pack.length; at += 11) {
        yield pack.subarray(at, at + 11);
        await sleep(idleMs / 4);
      }
    }
    const body = ReadableStream.from(trickle()) as ReadableStream<Uint8Array>;
    expect(await folder.write(to.record, "one", body, env)).toEqual({ stored: 2, wrong: 0 });
    expect((await folder.apply(to.record, "one", env)).files).toBe(2);
    await sleep(2 * idleMs);
    expect(await failureOf(folder.missing(to.record, "one", env))).toMatchObject({ code: "conflict" });
    await slow.close();
  });

  test("refuses more than its relay takes", async () => {
    const small = await openCompute(join(scratch, "small"), { HOME: scratch }, { maxTreeBytes: 1000 });
    const [from, to] = [await sandbox(left), await sandbox(small)];
    await put(from.folder, { a: randomBytes(1001) });
    expect(await failureOf(carryFolder(from, to, plain))).toMatchObject({ code: "too_large" });
    await put(to.folder, { a: randomBytes(1001) });
    expect(await failureOf(carryFolder(to, from, plain))).toMatchObject({ code: "too_large" });
    await small.close();
  });
});

describe("through tunnels over websockets", () => {
  /** A compute behind a real tunnel, which can be cut. */
  async function tunnelled(compute: Compute) {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
    await new Promise((resolve) => server.once("listening", resolve));
    const accepted = new Promise<WebSocket>((resolve) => server.once("connection", resolve));
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await new Promise((resolve) => client.once("open", resolve));
    const common = { level: 2, logger: silentLogger, software: "test" } as const;
    const serve = async (request: Request) => compute.app.fetch(request);
    new Channel({ ...common, socket: wsSocket(client), side: "relay", serve });
    const channel = new Channel({ ...common, socket: wsSocket(await accepted), side: "gateway" });
    const cut = () => client.terminate();
    const close = () => {
      cut();
      server.close();
    };
    return { channel, cut, close };
  }

  test("contents stream, and a link that breaks in the middle leaves nothing", async () => {
    const [a, b] = [await tunnelled(left), await tunnelled(right)];
    const from = await sandbox(left, { via: (request) => a.channel.fetch(request) });
    for (let index = 0; index < 300; index++) await put(from.folder, { [`s/${index}`]: `${index}` });
    await put(from.folder, { big: randomBytes(60 * 1024 * 1024) });
    const to = await sandbox(right, { via: (request) => b.channel.fetch(request) });
    const report = await carryFolder(from, to, plain);
    expect(report.files).toBe(301);
    expect(snapshot(to.folder)).toEqual(snapshot(from.folder));

    let cutting = false;
    const next = await sandbox(right, {
      via: (request) => {
        if (request.url.endsWith("/blobs")) {
          cutting = true;
          setTimeout(b.cut, 30);
        }
        return b.channel.fetch(request);
      },
    });
    await put(from.folder, { "big 2": randomBytes(40 * 1024 * 1024) });
    const failure = await failureOf(carryFolder(from, next, plain));
    expect(["compute_lost", "compute_offline"]).toContain(failure.code);
    expect(cutting).toBe(true);
    expect(snapshot(next.folder)).toEqual({});
    a.close();
    b.close();
  }, 120_000);
});
