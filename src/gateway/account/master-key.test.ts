import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MasterKey } from "./master-key.js";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-key-"));
  file = join(folder, "keys", "master.key");
});
afterEach(() => rm(folder, { recursive: true }));

describe("the master key", () => {
  test("opens for the owner what it sealed, and for nobody else", async () => {
    const key = await MasterKey.open({ file });
    const sealed = key.seal("secret-value", "acct_1/e2b");

    expect(sealed).not.toContain("secret-value");
    expect(await key.open(sealed, "acct_1/e2b")).toBe("secret-value");
    await expect(key.open(sealed, "acct_2/e2b")).rejects.toMatchObject({ code: "internal" });
  });

  test("notices every changed byte", async () => {
    const key = await MasterKey.open({ file });
    const [id, body] = key.seal("secret-value", "o").split(".");
    const bytes = Buffer.from(body!, "base64url");
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      await expect(key.open(`${id}.${changed.toString("base64url")}`, "o")).rejects.toThrow(
        "cannot be opened",
      );
    }
  });

  test("is kept in a file that only its owner may read, and is the same at the next start", async () => {
    const sealed = (await MasterKey.open({ file })).seal("x", "o");

    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await (await MasterKey.open({ file })).open(sealed, "o")).toBe("x");
  });

  test("is rotated: the old key opens until it is dropped, also in a process that knows only the old one", async () => {
    const running = await MasterKey.open({ file });
    const old = running.seal("x", "o");
    const rotating = await MasterKey.open({ file });
    await rotating.addKey();
    expect(rotating.isOld(old)).toBe(true);
    const anew = rotating.seal(await rotating.open(old, "o"), "o");

    expect(await running.open(anew, "o")).toBe("x");
    await rotating.dropOldKeys();
    expect((await readFile(file, "utf8")).trim().split("\n")).toHaveLength(1);
    await expect((await MasterKey.open({ file })).open(old, "o")).rejects.toThrow("is not here");
  });

  test("takes the environment's key, and refuses one that is too short", async () => {
    const given = Buffer.alloc(32, 7).toString("base64");
    const sealed = (await MasterKey.open({ given, file })).seal("x", "o");
    expect(
      await (await MasterKey.open({ given: Buffer.alloc(32, 7).toString("hex"), file })).open(sealed, "o"),
    ).toBe("x");

    await expect(MasterKey.open({ given: "c2hvcnQ=", file })).rejects.toThrow("32 bytes");
  });

  test("signs for one purpose only", async () => {
    const key = await MasterKey.open({ file });
    const signature = key.sign("port link", "text");

    expect(key.verifies("port link", "text", signature)).toBe(true);
    expect(key.verifies("port link", "other", signature)).toBe(false);
    expect(key.verifies("cookie", "text", signature)).toBe(false);
    expect(key.verifies("port link", "text", "")).toBe(false);
  });
});
