import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCompute } from "../../test/compute.js";
import { SmallDisk } from "../../test/faults/small-disk.js";
import { newId } from "../protocol/ids.js";

const BASE = "/api/cerver/provider/sandboxes";
let folder: string;
let compute: Awaited<ReturnType<typeof openCompute>>;
let id: string;
let work: string;

const open = () => openCompute(join(folder, "state"), { HOME: folder });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-relay-"));
  compute = await open();
  const { body } = await call("POST", BASE, { metadata: { env: { FROM_SESSION: "yes" } } });
  id = body.sandbox_id;
  work = body.metadata.cwd;
});
afterAll(async () => {
  await compute.close();
  await rm(folder, { recursive: true, force: true });
});

async function call(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await compute.app.fetch(
    new Request(`http://compute${path}`, {
      method,
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    }),
  );
  return { status: response.status, body: await response.json() };
}
const put = (path: string, content: string, encoding?: string) =>
  call("PUT", `${BASE}/${id}/files`, { path, content, encoding });
const get = (path: string, encoding = "utf8") =>
  call("GET", `${BASE}/${id}/files?${new URLSearchParams({ path, encoding })}`);

describe("files", () => {
  test("come back as they were written, in folders that are made on the way", async () => {
    expect(await put("a/b/c.txt", "héllo")).toMatchObject({ status: 200, body: { success: true, size: 6 } });
    expect((await get("a/b/c.txt")).body).toEqual({
      path: "a/b/c.txt",
      content: "héllo",
      encoding: "utf8",
      size: 6,
    });
    expect((await get(join(work, "a/b/../b/c.txt"))).body.content).toBe("héllo");
    await put("a/b/c.txt", "shorter");
    expect((await call("POST", `${BASE}/${id}/run`, { code: "cat a/b/c.txt" })).body.stdout).toBe("shorter");
  });

  test("of any bytes and of some size travel as base64", async () => {
    const bytes = randomBytes(5_000_000);
    await put("big.bin", bytes.toString("base64"), "base64");
    const { body } = await get("big.bin", "base64");
    const hash = (data: Buffer) => createHash("sha256").update(data).digest("hex");
    expect(hash(Buffer.from(body.content, "base64"))).toBe(hash(bytes));
  });

  test.each([
    ["../outside.txt", "it leads up and out"],
    ["a/../../outside.txt", "it leads up and out"],
    ["/etc/passwd", "it is an absolute path to another place"],
    ["", "it is the sandbox's folder itself"],
  ])("outside of the sandbox are out of reach: %j", async (path, why) => {
    const written = await put(path || ".", "x");
    expect(written).toMatchObject({
      status: 403,
      body: { code: "forbidden", error: expect.stringContaining(why) },
    });
    if (path) expect((await get(path)).status).toBe(403);
    expect(existsSync(join(work, "..", "outside.txt"))).toBe(false);
  });

  test("are not reached through links that lead out, as a file, as a folder, or half way", async () => {
    const secret = join(folder, "secret.txt");
    await writeFile(secret, "secret");
    await mkdir(join(folder, "elsewhere"));
    await symlink(secret, join(work, "link.txt"));
    await symlink(join(folder, "elsewhere"), join(work, "linked"));
    await symlink("/proc/self/environ", join(work, "environ"));
    for (const path of ["link.txt", "linked/x", "environ"]) {
      const { status, body } = await get(path);
      expect([403, 404]).toContain(status);
      expect(JSON.stringify(body)).not.toContain('secret"');
    }
    expect((await get("link.txt")).body.error).toContain("a link leads out");
    expect((await put("linked/new.txt", "x")).status).toBe(403);
    expect(existsSync(join(folder, "elsewhere", "new.txt"))).toBe(false);
    // Writing to the name of a link replaces the link, and not what it leads to.
    expect((await put("link.txt", "mine")).status).toBe(200);
    expect(await readFile(secret, "utf8")).toBe("secret");
    expect((await get("link.txt")).body.content).toBe("mine");
  });

  test("that a run swaps for a link all the time still do not lead out", async () => {
    const secret = join(folder, "swapped-secret.txt");
    await writeFile(secret, "SECRET");
    const code = `while :; do echo fine > swap.tmp; mv swap.tmp swap; ln -sf ${secret} swap.link; mv swap.link swap; done`;
    const run = compute.app.fetch(
      new Request(`http://compute${BASE}/${id}/run`, {
        method: "POST",
        body: JSON.stringify({ code, timeout: 2 }),
      }),
    );
    const seen = new Set<string>();
    for (let i = 0; i < 300; i++) {
      const { status, body } = await get("swap");
      seen.add(status === 200 ? body.content : String(status));
    }
    await run;
    expect(seen).not.toContain("SECRET");
  });

  test.each([
    ["a folder", "mkdir -p dir", "dir", 400],
    ["a pipe without a writer", "mkfifo pipe", "pipe", 400],
    ["what is not there", "true", "nowhere/x", 404],
    ["below a file", "echo > plain", "plain/x", 400],
  ])("cannot be read when it is %s", async (_, code, path, status) => {
    await call("POST", `${BASE}/${id}/run`, { code });
    expect((await get(path)).status).toBe(status);
  });

  test("refuse an encoding and a body that are none", async () => {
    expect(await get("a/b/c.txt", "latin7")).toMatchObject({
      status: 400,
      body: { code: "invalid_request" },
    });
    expect(await put("x", "y", "latin7")).toMatchObject({
      status: 400,
      body: { error: expect.stringMatching(/^encoding: /) },
    });
    expect(await call("PUT", `${BASE}/${id}/files`, "{")).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining("not JSON") },
    });
  });
});

describe("installing a package", () => {
  let registry: Server;
  let url: string;
  beforeAll(async () => {
    const source = await mkdtemp(join(tmpdir(), "cerver-package-"));
    await mkdir(join(source, "package"));
    await writeFile(
      join(source, "package/package.json"),
      '{"name":"tiny-thing","version":"1.2.3","main":"index.js"}',
    );
    await writeFile(join(source, "package/index.js"), 'module.exports = "tiny thing is here"');
    execFileSync("tar", ["-czf", "tiny.tgz", "package"], { cwd: source });
    const tarball = await readFile(join(source, "tiny.tgz"));
    await rm(source, { recursive: true });
    // What `npm install` asks a registry: the packument, then the tarball.
    registry = createServer((request, response) => {
      if (request.url === "/tiny-thing") {
        const dist = {
          tarball: `${url}/tiny.tgz`,
          integrity: `sha512-${createHash("sha512").update(tarball).digest("base64")}`,
        };
        const version = { name: "tiny-thing", version: "1.2.3", dist };
        response.setHeader("content-type", "application/json");
        return response.end(
          JSON.stringify({
            name: "tiny-thing",
            "dist-tags": { latest: "1.2.3" },
            versions: { "1.2.3": version },
          }),
        );
      }
      if (request.url === "/tiny.tgz") return response.end(tarball);
      response.statusCode = 404;
      response.end("{}");
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => registry.once("listening", resolve));
    url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`;
  });
  afterAll(() => registry.close());

  test("puts it where the session's code finds it", async () => {
    const { body: created } = await call("POST", BASE, {
      metadata: { env: { npm_config_registry: url, npm_config_cache: join(folder, "npm") } },
    });
    const at = `${BASE}/${created.sandbox_id}`;
    const { status, body } = await call("POST", `${at}/install`, { package: "tiny-thing@1.2.3" });
    expect({ status, exit: body.exit_code, stderr: body.stderr }).toMatchObject({ status: 200, exit: 0 });
    const run = await call("POST", `${at}/run`, {
      code: 'console.log((await import("tiny-thing")).default)',
      runtime: "node",
    });
    expect(run.body.stdout).toBe("tiny thing is here\n");
    const missing = await call("POST", `${at}/install`, { package: "not-there" });
    expect(missing).toMatchObject({ status: 200, body: { success: false, status: "failed" } });
  }, 60_000);

  test.each([
    "left-pad; id",
    "--global",
    "-g",
    "../x",
    "./x",
    "git+ssh://x",
    "http://x/y.tgz",
    "a b",
    "$(id)",
    "file:../x",
    "@/x",
    "",
  ])("refuses %j, which is no name", async (name) => {
    expect(await call("POST", `${BASE}/${id}/install`, { package: name })).toMatchObject({
      status: 400,
      body: { code: "invalid_request" },
    });
  });
});

describe("sandboxes", () => {
  test("keep their state and their files when the relay starts again", async () => {
    await call("PUT", `${BASE}/${id}/state`, { step: 3, nested: { deep: [1] } });
    await put("kept.txt", "kept");
    await compute.close();
    compute = await open();
    expect((await call("GET", `${BASE}/${id}/state`)).body.state).toEqual({ step: 3, nested: { deep: [1] } });
    expect(
      (await call("POST", `${BASE}/${id}/run`, { code: "cat kept.txt; echo $FROM_SESSION" })).body.stdout,
    ).toBe("keptyes\n");
  });

  test("are gone when they are deleted, and deleting again says the same", async () => {
    const { body } = await call("POST", BASE, {});
    const gone = { status: 200, body: { success: true, sandbox_id: body.sandbox_id, status: "terminated" } };
    expect(await call("DELETE", `${BASE}/${body.sandbox_id}`)).toMatchObject(gone);
    expect(await call("DELETE", `${BASE}/${body.sandbox_id}`)).toMatchObject(gone);
    expect(existsSync(body.metadata.cwd)).toBe(false);
    expect(await call("POST", `${BASE}/${body.sandbox_id}/run`, { code: "true" })).toMatchObject({
      status: 404,
      body: { code: "sandbox_not_found" },
    });
  });

  test("are gone when they are deleted while they are being made, at whatever moment", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const sandbox_id = newId("sbx");
      const made = call("POST", BASE, { sandbox_id });
      for (let turn = 0; turn < turns; turn++) await new Promise((next) => setImmediate(next));
      expect((await call("DELETE", `${BASE}/${sandbox_id}`)).status).toBe(200);
      expect([200, 409]).toContain((await made).status);
      expect(existsSync(join(folder, "state", "sandboxes", sandbox_id)), `after ${turns} turns`).toBe(false);
      expect((await call("GET", `${BASE}/${sandbox_id}/state`)).status).toBe(404);
    }
  });

  test("are not made by a create that arrives after its own delete", async () => {
    const sandbox_id = newId("sbx");
    await call("DELETE", `${BASE}/${sandbox_id}`);
    expect(await call("POST", BASE, { sandbox_id })).toMatchObject({
      status: 409,
      body: { code: "conflict" },
    });
    expect(existsSync(join(folder, "state", "sandboxes", sandbox_id))).toBe(false);
  });

  test("an address that is not there says so", async () => {
    expect(await call("GET", "/etc/passwd")).toMatchObject({
      status: 404,
      body: { error: "This relay serves no GET /etc/passwd." },
    });
  });
});

describe("a run whose output no disk takes", () => {
  const RUNS = "/api/cerver/provider/runs";
  let disk: SmallDisk;
  let full: typeof compute;

  beforeAll(async () => {
    const mounted = await SmallDisk.mount(8);
    if (!(mounted instanceof SmallDisk)) return;
    disk = mounted;
    full = await openCompute(join(disk.folder, "state"), { HOME: folder });
  });
  afterAll(async () => {
    await full?.close();
    await disk?.unmount();
  });

  const ask = (path: string, json?: unknown) =>
    full.app.fetch(
      new Request(`http://compute${path}`, json ? { method: "POST", body: JSON.stringify(json) } : {}),
    );

  test("is looked up, and read, from memory: more than a reader is told at a time", async ({ skip }) => {
    if (!disk) return skip("a small disk cannot be mounted here");
    const runId = newId("run");
    const { sandbox_id } = (await (await ask(BASE, {})).json()) as { sandbox_id: string };
    const code = "sleep 0.5; head -c 3000000 /dev/zero | tr '\\0' x";
    expect((await ask(`${BASE}/${sandbox_id}/runs`, { code, run_id: runId })).status).toBe(200);
    await disk.fill();
    // Nobody reads it, so that the output is kept for it where it is.
    const unread = await ask(`${RUNS}/${runId}/stream`);
    const state = async () => (await full.keeper.states([runId]))[0];
    await expect.poll(async () => (await state())?.status).toBe("succeeded");

    const found = (await (await ask(`${RUNS}/lookup`, { run_ids: [runId] })).json()) as any;
    expect(found.runs).toMatchObject([{ run_id: runId, status: "succeeded", stdout_bytes: 3_000_000 }]);
    expect(found.runs[0].output.stdout).toContain("xxx");
    const output = await (await ask(`${RUNS}/${runId}/output?stream=stdout`)).arrayBuffer();
    expect(output.byteLength).toBe(3_000_000);
    await unread.body!.cancel();
  });
});
