import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CarryEnd, type CarryOptions, carryFolder } from "../src/gateway/compute/carry.js";
import type { SandboxRecord } from "../src/gateway/compute/contract.js";
import { type ComputeFetch, p69Provider } from "../src/gateway/compute/providers/p69.js";
import type { CerverError } from "../src/protocol/errors.js";
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
  } = {},
): Promise<CarryEnd & { folder: string }> {
  const fetchCompute: ComputeFetch = (_, request) => Promise.resolve(via(request));
  const adapter = p69Provider(fetchCompute);
  const env = { accountId: "a", computeId: "c", signal, credentials: {} };
  const record = await p69Provider(async (_, request) => compute.app.fetch(request)).createSandbox(
    { engine: "shell", metadata: {} },
    env,
  );
  return { adapter, record, env, folder: compute.sandboxes.get(record.sandboxId).folder };
}
const plain: CarryOptions = { leaveSecrets: false, skipIgnored: false };

async function put(folder: string, files: Record<string, string | Buffer>) {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}

/** What is in a folder, by a second look that shares no code with the relay. */
async function snapshot(folder: string, at = ""): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const name of (await readdir(join(folder, at))).sort()) {
    const path = at === "" ? name : `${at}/${name}`;
    const stat = await lstat(join(folder, path));
    if (stat.isSymbolicLink()) found[path] = `-> ${await readlink(join(folder, path))}`;
    else if (stat.isDirectory()) {
      found[path] = `dir ${(stat.mode & 0o7777).toString(8)}`;
      Object.assign(found, await snapshot(folder, path));
    } else if (stat.isFile()) {
      const hash = createHash("sha256").update(await readFile(join(folder, path)));
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
    for (let index = 0; index < 2000; index++) {
      await put(from.folder, { [`src/${index % 40}/file ${index}.txt`]: `content ${index}\n` });
    }
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
    const before = await snapshot(from.folder);

    const to = await sandbox(right);
    const progress: number[] = [];
    const report = await carryFolder(from, to, {
      ...plain,
      onProgress: ({ bytes_left }) => progress.push(bytes_left),
    });
    expect(await snapshot(to.folder)).toEqual(before);
    expect(await snapshot(from.folder)).toEqual(before);
    expect((await lstat(join(to.folder, "run.sh"))).mtime).toEqual(new Date("2020-02-02T02:02:02Z"));
    expect(report).toMatchObject({ files: 2011, left_behind: [], refused: [] });
    expect(report.bytes_total).toBeGreaterThan(100 * 1024 * 1024);
    expect(report.bytes_sent).toBeLessThan(51 * 1024 * 1024);
    expect(progress.at(-1)).toBe(0);
    expect(await readdir(dirname(to.folder))).not.toContain("incoming");

    await put(from.folder, { "src/1/new": "new", "run.sh": "#!/bin/sh\necho\n" });
    const again = await carryFolder(from, to, { ...plain, replaces: report.tree_hash });
    expect(again.bytes_sent).toBe("new".length + "#!/bin/sh\necho\n".length);
    expect(await snapshot(to.folder)).toEqual(await snapshot(from.folder));
    expect(again.tree_hash).not.toBe(report.tree_hash);
    const same = await carryFolder(from, to, plain);
    expect(same).toMatchObject({ bytes_sent: 0, tree_hash: again.tree_hash });

    // A new sandbox finds what came before in the cache.
    await right.trees.idle();
    const fresh = await sandbox(right);
    expect((await carryFolder(from, fresh, plain)).bytes_sent).toBe(0);
    expect(await snapshot(fresh.folder)).toEqual(await snapshot(from.folder));
  }, 120_000);
});
