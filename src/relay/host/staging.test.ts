import { existsSync } from "node:fs";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Staging } from "./staging.js";

let scratch: string;
beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), "cerver-staging-")));
});
afterAll(() => rm(scratch, { recursive: true, force: true }));

/** A folder of the user's own that holds `kept` and `both`, and a tree of `both` and `new` that comes into it. */
async function begun() {
  const home = await mkdtemp(join(scratch, "home-"));
  const [folder, record] = [join(home, "folder"), join(home, "state/move.json")];
  await put(folder, { kept: "kept", both: "old" });
  await mkdir(dirname(record));
  const place = { folder, parent: folder, record };
  const staging = new Staging(place);
  await staging.make();
  await put(staging.path, { "tree/both": "new", "tree/new": "new" });
  const tree = join(staging.path, "tree");
  /** What a relay does that finds what one that was killed left. */
  const recover = () => Staging.recover(place);
  return { home, folder, record, staging, tree, recover };
}

async function put(folder: string, files: Record<string, string>) {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}

async function contents(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).filter((name) => !name.startsWith(".cerver-incoming-"));
  return Object.fromEntries(
    await Promise.all(names.sort().map(async (name) => [name, await readFile(join(folder, name), "utf8")])),
  );
}

describe("a move that was cut off", () => {
  const before = { both: "old", kept: "kept" };
  type Begun = Awaited<ReturnType<typeof begun>>;

  test.each<[when: string, until: (move: Begun) => Promise<void>, after: object]>([
    ["while contents came", async () => {}, before],
    [
      "while the folder was emptied",
      async ({ staging, folder }) => {
        await staging.takeOut();
        await rename(join(staging.path, "old/kept"), join(folder, "kept"));
      },
      before,
    ],
    [
      "while the tree was moved in",
      async ({ staging, tree, folder }) => {
        await staging.takeOut();
        await staging.bringIn(tree);
        await rename(join(folder, "new"), join(tree, "new"));
      },
      before,
    ],
    [
      "when it was done",
      async ({ staging, tree }) => {
        await staging.takeOut();
        await staging.bringIn(tree);
        await staging.settle();
      },
      { both: "new", new: "new" },
    ],
  ])("%s leaves one of both trees, whole, and nothing else", async (_, until, after) => {
    const move = await begun();
    await until(move);
    await move.recover();
    expect(await contents(move.folder)).toEqual(after);
    expect(await readdir(move.folder)).toEqual(Object.keys(after));
    expect(existsSync(move.record)).toBe(false);
    await move.recover();
  });

  test("leaves what came into the folder since, and says where the rest is", async () => {
    const { folder, staging, tree, recover } = await begun();
    await staging.takeOut();
    await staging.bringIn(tree);
    await put(folder, { since: "s", kept: "since" });
    await expect(recover()).rejects.toMatchObject({
      code: "conflict",
      hint: expect.stringContaining(join(staging.path, "old")),
    });
    expect(await contents(folder)).toEqual({ both: "old", kept: "since", since: "s" });
    await rm(join(folder, "kept"));
    await recover();
    expect(await contents(folder)).toEqual({ both: "old", kept: "kept", since: "s" });
  });

  test.each<[what: string, swap: (move: Begun) => Promise<void>]>([
    [
      "a link to the place that was made",
      async ({ home, staging }) => {
        await rename(staging.path, join(home, "moved"));
        await symlink(join(home, "moved"), staging.path);
      },
    ],
    [
      "another folder of its name",
      async ({ home, staging }) => {
        await rename(staging.path, join(home, "moved"));
        await put(staging.path, { "old/stranger": "s" });
      },
    ],
    [
      "a link in the place of what was there",
      async ({ home, staging }) => {
        await rename(join(staging.path, "old"), join(home, "moved"));
        await symlink(join(home, "moved"), join(staging.path, "old"));
      },
    ],
    ["nothing", async ({ home, staging }) => rename(staging.path, join(home, "moved"))],
  ])("is not undone by what is not there any more: %s", async (_, swap) => {
    const move = await begun();
    await move.staging.takeOut();
    await swap(move);
    await expect(move.recover()).rejects.toMatchObject({
      code: "conflict",
      hint: expect.stringContaining(move.record),
    });
    expect(await contents(move.folder)).toEqual({});
    expect(existsSync(join(move.home, "moved"))).toBe(true);
    expect(existsSync(move.record)).toBe(true);
  });
});
