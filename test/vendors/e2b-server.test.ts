import { Sandbox } from "e2b";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isLiving, look } from "../proc-look.js";
import { type E2bServer, startE2bServer } from "./e2b-server.js";

const KEY = "e2b_00000000000000000000000000000000000server";

let server: E2bServer;
let connection: { apiKey: string; apiUrl: string; sandboxUrl: string; retries: number };
beforeAll(async () => {
  server = await startE2bServer({ apiKey: KEY });
  connection = { apiKey: KEY, apiUrl: server.apiUrl, sandboxUrl: server.sandboxUrl, retries: 0 };
});
afterAll(() => server.close());

/** The vendor's own SDK, as anybody uses it: what the adapter leaves aside has to be there too. */
describe("the server that acts as E2B, driven by the unmodified SDK", () => {
  test("makes, finds, lists, keeps and ends sandboxes", async () => {
    const sandbox = await Sandbox.create({ ...connection, timeoutMs: 60_000, metadata: { "a b": "c&d" } });
    const info = await sandbox.getInfo();
    expect(info).toMatchObject({
      sandboxId: sandbox.sandboxId,
      state: "running",
      metadata: { "a b": "c&d" },
    });
    await sandbox.setTimeout(120_000);
    expect((await sandbox.getInfo()).endAt.getTime() - Date.now()).toBeGreaterThan(110_000);
    const others = await Promise.all([1, 2, 3].map(() => Sandbox.create(connection)));
    const pages = Sandbox.list({ ...connection, limit: 3 });
    const ids: string[] = [];
    while (pages.hasNext) ids.push(...(await pages.nextItems()).map(({ sandboxId }) => sandboxId));
    expect(ids.sort()).toEqual([sandbox, ...others].map(({ sandboxId }) => sandboxId).sort());
    const found = await Sandbox.list({ ...connection, query: { metadata: { "a b": "c&d" } } }).nextItems();
    expect(found.map(({ sandboxId }) => sandboxId)).toEqual([sandbox.sandboxId]);
    expect(await sandbox.isRunning()).toBe(true);
    for (const one of [sandbox, ...others]) expect(await one.kill()).toBe(true);
    expect(await sandbox.kill()).toBe(false);
    expect(await sandbox.isRunning()).toBe(false);
    await expect(Sandbox.connect(sandbox.sandboxId, connection)).rejects.toThrow("not found");
  });

  test("refuses another key, and another sandbox's token", async () => {
    await expect(Sandbox.create({ ...connection, apiKey: "e2b_other" })).rejects.toThrow("Invalid API key");
    const sandbox = await Sandbox.create(connection);
    const options = { ...connection, sandboxId: sandbox.sandboxId, envdVersion: "0.6.2" };
    await expect(new Sandbox({ ...options, envdAccessToken: "x" }).commands.run("true")).rejects.toThrow();
    await sandbox.kill();
  });

  test("runs commands, takes input, follows and kills", async () => {
    const sandbox = await Sandbox.create({ ...connection, envs: { FROM: "create" } });
    const ran = await sandbox.commands.run('echo "$FROM $HERE"; echo err >&2', { envs: { HERE: "run" } });
    expect(ran).toMatchObject({ exitCode: 0, stdout: "create run\n", stderr: "err\n" });
    await expect(sandbox.commands.run("exit 3")).rejects.toMatchObject({ exitCode: 3 });

    const cat = await sandbox.commands.run("cat", { background: true, stdin: true });
    await cat.sendStdin("one ");
    await sandbox.commands.sendStdin(cat.pid, "two");
    expect((await sandbox.commands.list()).map(({ pid }) => pid)).toEqual([cat.pid]);
    const other = await sandbox.commands.connect(cat.pid);
    await cat.closeStdin();
    expect((await cat.wait()).stdout).toBe("one two");
    expect((await other.wait()).exitCode).toBe(0);
    expect(await sandbox.commands.kill(cat.pid)).toBe(false);

    const sleeper = await sandbox.commands.run("exec sleep 600", { background: true });
    expect(await sleeper.kill()).toBe(true);
    await expect(sleeper.wait()).rejects.toMatchObject({ exitCode: -1 });
    // The vendor's time limit reaches one process, as its kill does.
    await expect(sandbox.commands.run("exec sleep 600", { timeoutMs: 300 })).rejects.toThrow("deadline");
    await expect(sandbox.commands.run("true", { cwd: "/nowhere" })).rejects.toThrow();
    await sandbox.kill();
  });

  test("keeps files and folders", async () => {
    const sandbox = await Sandbox.create(connection);
    await sandbox.files.write("folder/a", "text");
    await sandbox.files.write([{ path: "folder/b", data: "second" }]);
    expect(await sandbox.files.read("folder/a")).toBe("text");
    expect(await sandbox.files.read("~/folder/b")).toBe("second");
    expect((await sandbox.files.list("folder")).map(({ name, type }) => [name, type]).sort()).toEqual([
      ["a", "file"],
      ["b", "file"],
    ]);
    expect(await sandbox.files.makeDir("folder")).toBe(false);
    expect(await sandbox.files.makeDir("other/deep")).toBe(true);
    await sandbox.files.rename("folder/a", "other/c");
    expect(await sandbox.files.exists("folder/a")).toBe(false);
    expect(await sandbox.files.getInfo("other/c")).toMatchObject({ type: "file", size: 4 });
    await sandbox.files.remove("other");
    await expect(sandbox.files.read("other/c")).rejects.toThrow("does not exist");
    await sandbox.files.write("~/x", "root's", { user: "root" });
    expect(await sandbox.files.exists("x")).toBe(false);
    await sandbox.kill();
  });

  test("pauses and wakes, and ends what is over", async () => {
    const sandbox = await Sandbox.create(connection);
    const ticking = await sandbox.commands.run("while :; do echo . >> ticks; sleep 0.05; done", {
      background: true,
    });
    expect(await sandbox.pause()).toBe(true);
    expect(await sandbox.pause()).toBe(false);
    expect((await sandbox.getInfo()).state).toBe("paused");
    expect(look().get(ticking.pid)?.state).toBe("T");
    await sandbox.connect({ timeoutMs: 1_000 });
    expect(look().get(ticking.pid)?.state).not.toBe("T");
    await expect.poll(() => server.sandbox(sandbox.sandboxId), { timeout: 5_000 }).toBeUndefined();
    await expect.poll(() => look().get(ticking.pid)).toBeUndefined();
    await expect(ticking.wait()).rejects.toThrow();
  });

  test("leaves nothing behind when it closes", async () => {
    const own = await startE2bServer({ apiKey: KEY });
    const sandbox = await Sandbox.create({ ...connection, apiUrl: own.apiUrl, sandboxUrl: own.sandboxUrl });
    const { pid } = await sandbox.commands.run("(setsid sleep 600 &) ; exec sleep 600", { background: true });
    const mark = `E2B_SANDBOX_ID=${sandbox.sandboxId}`;
    const left = () => [...look().values()].filter((one) => isLiving(one) && one.environ.includes(mark));
    await expect.poll(() => left().length).toBe(2);
    expect(left().map((one) => one.pid)).toContain(pid);
    await own.close();
    expect(left()).toEqual([]);
  });
});
