import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, symlink } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ProviderEnv, SandboxRecord } from "../../src/gateway/compute/contract.js";
import { cloudflareProvider } from "../../src/gateway/compute/providers/cloudflare.js";
import { RunEvent } from "../../src/protocol/runs.js";
import type { FileContent, SandboxRunAnswer, SandboxRunRequest } from "../../src/protocol/sandbox.js";
import { look } from "../proc-look.js";
import { type FakeCloudflare, startCloudflareBridge } from "./cloudflare-bridge.js";

const KEY = "a-key-that-nobody-may-see";
const provider = cloudflareProvider();
let vendor: FakeCloudflare;
beforeAll(async () => {
  vendor = await startCloudflareBridge({ key: KEY });
});
afterAll(async () => {
  await vendor.close();
  expect(processesWith(vendor.root)).toEqual([]);
});
const sandboxes: SandboxRecord[] = [];
afterEach(async () => {
  for (const record of sandboxes.splice(0)) await provider.deleteSandbox(record, env());
  await expect.poll(() => vendor.sandboxes(), { timeout: 5_000 }).toEqual([]);
});

function env(signal = new AbortController().signal, credentials: Record<string, string> = {}): ProviderEnv {
  return {
    computeId: "provider_cloudflare",
    signal,
    credentials: { cloudflare_sandbox_url: vendor.url, cloudflare_sandbox_key: KEY, ...credentials },
  };
}
let made = 0;
async function sandbox(metadata: Record<string, unknown> = {}): Promise<SandboxRecord> {
  const request = { engine: "shell", metadata: { cerver_session_id: `sess_${++made}`, ...metadata } };
  const record = await provider.createSandbox(request, env());
  sandboxes.push(record);
  return record;
}
const asked = (code: string, more: Partial<SandboxRunRequest> = {}): SandboxRunRequest => ({
  code,
  runtime: "shell",
  ...more,
});
async function run(record: SandboxRecord, code: string, more: Partial<SandboxRunRequest> = {}) {
  const response = await provider.runSandbox(record, asked(code, more), env());
  expect(response.status).toBe(200);
  return (await response.json()) as SandboxRunAnswer;
}
/** The events of a stream, as they come, with the time of each. */
async function* events(response: Response): AsyncGenerator<{ event: RunEvent; at: number }> {
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data) yield { event: RunEvent.parse(JSON.parse(data)), at: performance.now() };
    }
  }
}
/** The commands of the living processes that have this text in their arguments or environment. */
function processesWith(text: string): string[] {
  return [...look().values()]
    .filter(({ state, cmdline, environ }) => state !== "Z" && (cmdline + environ.join(" ")).includes(text))
    .map(({ pid, cmdline }) => `${pid} ${cmdline}`)
    .filter((line) => !line.startsWith(`${process.pid} `));
}
const sleepers = (seconds: string) =>
  [...look().values()].filter(
    ({ state, cmdline }) =>
      state !== "Z" && /^(?:\/bin\/)?sleep (\d+)$/.exec(cmdline.trim())?.[1] === seconds,
  );

describe("runs", () => {
  test("tell the exit code, and stdout and stderr apart", async () => {
    const answer = await run(await sandbox(), "echo out; echo err >&2; exit 7");
    expect(answer).toMatchObject({
      success: false,
      status: "failed",
      exit_code: 7,
      stdout: "out\n",
      stderr: "err\n",
      stdout_bytes: 4,
    });
  });

  test("tell the signal that ended them", async () => {
    const answer = await run(await sandbox(), "kill -KILL $$");
    expect(answer).toMatchObject({
      status: "failed",
      exit_code: 137,
      signal: "SIGKILL",
      end_reason: "signal",
    });
  });

  test("take variables, input, a folder, and ES modules with top-level await", async () => {
    const record = await sandbox({ env: { SESSION: "s", BOTH: "session" } });
    const variables = await run(record, 'echo "$SESSION $BOTH $ODD"', {
      envs: { BOTH: "run", ODD: "a'b\n\"$c" },
    });
    expect(variables.stdout).toBe("s run a'b\n\"$c\n");
    expect((await run(record, "cat", { stdin: "wörld\0!" })).stdout).toBe("wörld\0!");
    expect((await run(record, "cat")).stdout).toBe("");
    await run(record, "mkdir -p a/b");
    expect((await run(record, "pwd", { cwd: "a/b" })).stdout).toMatch(/work\/a\/b\n$/);
    const module = await run(
      record,
      'import { sep } from "node:path"; console.log(await Promise.resolve(sep))',
      {
        runtime: "node",
      },
    );
    expect(module.stdout).toBe("/\n");
  });

  test("take code that is longer than an argument may be", async () => {
    const record = await sandbox();
    const filler = `# ${"x".repeat(300_000)}\n`;
    expect((await run(record, `${filler}echo long`)).stdout).toBe("long\n");
    expect((await run(record, `/*${filler}*/ console.log("long")`, { runtime: "node" })).stdout).toBe(
      "long\n",
    );
    expect((await run(record, "ls -A")).stdout).toBe("");
  });

  test("leave nothing of themselves beside the working folder, and nothing secret in what the vendor logs", async () => {
    const record = await sandbox();
    const requestsBefore = vendor.commands.length;
    await run(record, "echo hidden-code", { envs: { TOKEN: "hidden-value" }, stdin: "hidden-input" });
    const files = () => readdir(join(vendor.folder(record.sandboxId), "../.cerver/runs"));
    await expect.poll(files).toEqual([]);
    expect(vendor.commands.slice(requestsBefore).join("\n")).not.toContain("hidden");
  });

  test("refuse a folder that is missing or outside", async () => {
    const record = await sandbox();
    await expect(run(record, "pwd", { cwd: "../.cerver" })).rejects.toMatchObject({ code: "forbidden" });
    await expect(run(record, "pwd", { cwd: "/" })).rejects.toMatchObject({ code: "forbidden" });
    await expect(run(record, "pwd", { cwd: "nowhere" })).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("refuse options that the bridge cannot serve", async () => {
    const record = await sandbox();
    for (const option of [{ background: true }, { stdin_open: true }]) {
      await expect(run(record, "true", option)).rejects.toMatchObject({ code: "unsupported" });
    }
    await expect(
      provider.createSandbox({ engine: "shell", metadata: { working_dir: "/srv" } }, env()),
    ).rejects.toMatchObject({ code: "unsupported" });
  });

  test("keep every byte of binary output", async () => {
    const record = await sandbox();
    const code =
      "process.stdout.write(Buffer.from(Array.from({ length: 256 }, (_, n) => n))); process.stderr.write(Buffer.from([255, 0, 254]))";
    const answer = await run(record, code, { runtime: "node" });
    expect(answer).toMatchObject({ stdout_encoding: "base64", stderr_encoding: "base64", stdout_bytes: 256 });
    expect([...Buffer.from(answer.stdout, "base64")]).toEqual(Array.from({ length: 256 }, (_, n) => n));
    expect([...Buffer.from(answer.stderr, "base64")]).toEqual([255, 0, 254]);
  });

  test("stream 10 MB unharmed, in several segments", async () => {
    const record = await sandbox();
    const before = vendor.requests.length;
    const code = "seq -f 'line %.0f of this long output' 1 400000";
    const response = await provider.runSandboxStream(record, asked(code, { timeout: 60 }), env());
    let text = "";
    let exit: RunEvent | undefined;
    for await (const { event } of events(response)) {
      if (event.type === "stdout") text += event.data;
      if (event.type === "exit") exit = event;
    }
    const expected = Array.from({ length: 400_000 }, (_, n) => `line ${n + 1} of this long output\n`).join(
      "",
    );
    expect(text.length).toBeGreaterThan(10_000_000);
    expect(text === expected).toBe(true);
    expect(exit).toMatchObject({ status: "succeeded", exit_code: 0, stdout_bytes: expected.length });
    expect(vendor.requests.slice(before).filter((line) => line.endsWith("/exec")).length).toBeGreaterThan(1);
  });

  test("go at once on what they print, long before they end", async () => {
    const began = performance.now();
    const record = await sandbox();
    const response = await provider.runSandboxStream(record, asked("echo first; sleep 2; echo last"), env());
    const seen: { type: string; at: number }[] = [];
    for await (const { event, at } of events(response)) seen.push({ type: event.type, at: at - began });
    expect(seen.map(({ type }) => type)).toEqual(["start", "stdout", "stdout", "exit"]);
    expect(seen[3]!.at - seen[1]!.at).toBeGreaterThan(1_500);
  });

  test("wait for a reader that does not read", async () => {
    const record = await sandbox();
    const code =
      "i=0; while [ $i -lt 600 ]; do head -c 100000 /dev/zero; i=$((i+1)); echo $i > progress; done";
    const leaving = new AbortController();
    const response = await provider.runSandboxStream(
      record,
      asked(code, { timeout: 60 }),
      env(leaving.signal),
    );
    const progress = async () =>
      Number(await readFile(join(vendor.folder(record.sandboxId), "progress"), "utf8"));
    const settled = async () => {
      for (let last = -1; ; ) {
        const now = await progress().catch(() => 0);
        if (now === last && now > 0) return now;
        last = now;
        await new Promise((resolve) => setTimeout(resolve, 700));
      }
    };
    // 60 MB are to come; a segment of 8 MiB and what pipes hold is what went out.
    expect(await settled()).toBeLessThan(150);
    await response.body!.cancel();
    await expect.poll(() => processesWith("progress; done"), { timeout: 10_000 }).toEqual([]);
  });
});

describe("ending a run", () => {
  // Children in the group, in sessions of their own, without their parents, and deaf to TERM.
  const FAMILY = (seconds: string) =>
    `trap '' TERM; sleep ${seconds} & setsid sleep ${seconds} & (setsid setsid sleep ${seconds} &) ; ` +
    `setsid env -i /bin/sh -c 'trap "" TERM; /bin/sleep ${seconds}; :' & echo ready; wait`;

  test("ends every process of it when the caller leaves, before it settles", async () => {
    const record = await sandbox();
    const leaving = new AbortController();
    const running = provider.runSandbox(record, asked(FAMILY("3011")), env(leaving.signal));
    await expect.poll(() => sleepers("3011").length, { timeout: 5_000 }).toBe(4);
    // Who has no mark has been seen by then.
    await new Promise((resolve) => setTimeout(resolve, 700));
    leaving.abort(new Error("left"));
    await expect(running).rejects.toThrow("left");
    expect(sleepers("3011")).toEqual([]);
  });

  test("ends every process of it at its timeout", async () => {
    const answer = await run(await sandbox(), FAMILY("3012"), { timeout: 1.5 });
    expect(answer).toMatchObject({
      status: "timed_out",
      exit_code: 124,
      stdout: "ready\n",
      end_reason: "timeout",
    });
    expect(sleepers("3012")).toEqual([]);
  });

  test("ends it when the stream's reader goes away", async () => {
    const response = await provider.runSandboxStream(await sandbox(), asked(FAMILY("3013")), env());
    for await (const { event } of events(response)) if (event.type === "stdout") break;
    await expect.poll(() => sleepers("3013"), { timeout: 10_000 }).toEqual([]);
  });

  test("ends it when the caller leaves while it starts", async () => {
    const record = await sandbox();
    for (const ms of [1, 20, 60, 100, 140]) {
      const signal = AbortSignal.timeout(ms);
      await expect(provider.runSandbox(record, asked("sleep 3014"), env(signal))).rejects.toThrow();
      expect(sleepers("3014")).toEqual([]);
    }
    expect((await run(record, "echo fine")).stdout).toBe("fine\n");
  });

  test("leaves other runs alone", async () => {
    const record = await sandbox();
    const other = run(record, "sleep 3; echo lived");
    await run(record, "sleep 3015", { timeout: 0.5 });
    expect((await other).stdout).toBe("lived\n");
  });

  test("ends what a command leaves behind", async () => {
    const answer = await run(await sandbox(), "setsid sleep 3016 & echo done");
    expect(answer).toMatchObject({ status: "succeeded", stdout: "done\n" });
    expect(sleepers("3016")).toEqual([]);
  });
});

describe("a run whose end nobody tells", () => {
  for (const fault of ["cut", "runner-killed"] as const) {
    test(`is lost, and never a success: ${fault}`, async () => {
      const record = await sandbox();
      vendor.fail({ run: fault });
      await expect(run(record, "echo begun; sleep 3017")).rejects.toMatchObject({ code: "compute_lost" });
      expect(sleepers("3017")).toEqual([]);

      vendor.fail({ run: fault });
      const response = await provider.runSandboxStream(record, asked("echo begun; sleep 3018"), env());
      const seen: RunEvent[] = [];
      for await (const { event } of events(response)) seen.push(event);
      expect(seen.at(-1)).toMatchObject({ type: "error", code: "compute_lost", status: "lost" });
      expect(seen.some(({ type }) => type === "exit")).toBe(false);
      expect(sleepers("3018")).toEqual([]);
    });
  }

  test.each([
    ["its start was not answered", 0],
    ["its stream broke", 1],
  ])("says that nobody confirmed its end, too, when %s", async (_, answered) => {
    let left = Number.POSITIVE_INFINITY;
    const failing = cloudflareProvider({
      fetch: async (input, init) => {
        if (left < 0) throw new Error("down");
        if (String(input).endsWith("/exec") && --left < 0) throw new Error("down");
        return fetch(input, init);
      },
    });
    const record = await sandbox();
    left = answered;
    vendor.fail({ run: "cut" });
    const asking = failing.runSandbox(record, asked("echo begun; sleep 3"), env());
    await expect(asking).rejects.toMatchObject({
      code: "compute_lost",
      message: expect.stringContaining("did not confirm"),
    });
  });

  test("is lost when its container stops", async () => {
    const record = await sandbox();
    const running = run(record, "sleep 3019").catch((error) => error);
    await expect.poll(() => sleepers("3019").length).toBe(1);
    await vendor.sleep(record.sandboxId);
    expect(await running).toMatchObject({ code: "compute_lost" });
  });
});

describe("files", () => {
  const write = async (record: SandboxRecord, path: string, content: string, encoding: "utf8" | "base64") => {
    const response = await provider.writeFile(record, { path, content, encoding }, env());
    return response.json();
  };
  const read = async (record: SandboxRecord, path: string, encoding: "utf8" | "base64" = "utf8") =>
    (await (await provider.readFile(record, path, encoding, env())).json()) as FileContent;

  test("are written and read as text and as bytes, with the folders on the way", async () => {
    const record = await sandbox();
    expect(await write(record, "a/ü b/c.txt", "häß\n", "utf8")).toEqual({
      success: true,
      path: "a/ü b/c.txt",
      size: 6,
    });
    expect(await read(record, "a/ü b/c.txt")).toEqual({
      path: "a/ü b/c.txt",
      content: "häß\n",
      encoding: "utf8",
      size: 6,
    });
    const bytes = Buffer.from([0, 255, 10, 128]).toString("base64");
    await write(record, "bin", bytes, "base64");
    expect(await read(record, "bin", "base64")).toMatchObject({ content: bytes, size: 4 });
    await write(record, "empty", "", "utf8");
    expect(await read(record, "empty")).toMatchObject({ content: "", size: 0 });
    expect((await run(record, "ls -A")).stdout).toBe("a\nbin\nempty\n");
  });

  test("may be larger than the bridge takes at once", { timeout: 120_000 }, async () => {
    const record = await sandbox();
    const bytes = Buffer.alloc(33 * 1024 * 1024, "0123456789abcdef!");
    await write(record, "large", bytes.toString("base64"), "base64");
    const answer = await read(record, "large", "base64");
    expect(Buffer.from(answer.content, "base64").equals(bytes)).toBe(true);
  });

  test("that are missing, too large, folders or outside are refused as such", async () => {
    const record = await sandbox();
    await run(record, "mkdir folder; truncate -s 65M big; echo x > file");
    await symlink("/etc/hostname", join(vendor.folder(record.sandboxId), "link"));
    await expect(read(record, "no")).rejects.toMatchObject({ code: "file_not_found" });
    await expect(read(record, "big")).rejects.toMatchObject({ code: "too_large" });
    await expect(read(record, "folder")).rejects.toMatchObject({ code: "invalid_request" });
    await expect(read(record, "link")).rejects.toMatchObject({ code: "forbidden" });
    await expect(read(record, "../.cerver/sandbox")).rejects.toMatchObject({ code: "forbidden" });
    await expect(write(record, "/etc/x", "", "utf8")).rejects.toMatchObject({ code: "forbidden" });
    await expect(write(record, "file/x", "", "utf8")).rejects.toMatchObject({ code: "invalid_request" });
    expect(await readdir(join(vendor.folder(record.sandboxId), "../.cerver/runs"))).toEqual([]);
  });
});

describe("sandboxes", () => {
  test("keep a state that does not disturb the working folder", async () => {
    const record = await sandbox();
    const get = async () => (await provider.getState(record, env())).json();
    expect(await get()).toMatchObject({ sandbox_id: record.sandboxId, state: {} });
    await provider.setState(record, { a: [1, "ü"] }, env());
    expect(await get()).toMatchObject({ state: { a: [1, "ü"] } });
    expect((await run(record, "ls -A")).stdout).toBe("");
    await run(record, "printf '[1]' > ../.cerver/state.json");
    await expect(get()).rejects.toMatchObject({
      code: "provider_failed",
      hint: expect.stringMatching(/Set the state anew/),
    });
  });

  test("install packages by name, and by nothing that is not one", async () => {
    const record = await sandbox();
    const install = (name: string, manager: "npm" | "pip" = "npm") =>
      provider.installPackage(record, { package: name, manager, timeout: 60 }, env());
    for (const name of ["../x", "--global", "a b", "https://x.test/a.tgz"])
      await expect(install(name)).rejects.toMatchObject({ code: "invalid_request" });
    const bin = join(vendor.folder(record.sandboxId), "../../home/bin");
    await run(
      record,
      `mkdir -p ${bin} && printf '#!/bin/sh\\necho "npm $@"; exit 4' > ${bin}/npm && chmod +x ${bin}/npm`,
    );
    const answer = (await (await install("left-pad@1.3.0")).json()) as SandboxRunAnswer;
    expect(answer).toMatchObject({
      exit_code: 4,
      stdout: "npm install --no-audit --no-fund -- left-pad@1.3.0\n",
    });
  });

  test("are found by their session, and deleted twice", async () => {
    const record = await sandbox({ cerver_session_id: "sess_found" });
    expect(record).toMatchObject({ computeId: "provider_cloudflare", provider: "cloudflare" });
    expect(await provider.cloud!.find("sess_found", env())).toEqual([record]);
    for (let time = 0; time < 2; time++) {
      const response = await provider.deleteSandbox(record, env());
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({
        success: true,
        sandbox_id: record.sandboxId,
        status: "terminated",
      });
    }
    expect(await provider.cloud!.find("sess_found", env())).toEqual([]);
  });

  test("that are gone are not replaced in silence by an empty one", async () => {
    const record = await sandbox();
    await vendor.sleep(record.sandboxId);
    const gone = { code: "sandbox_not_found" };
    await expect(run(record, "true")).rejects.toMatchObject(gone);
    await expect(provider.readFile(record, "a", "utf8", env())).rejects.toMatchObject(gone);
    await expect(provider.getState(record, env())).rejects.toMatchObject(gone);
    await expect(provider.cloud!.portUrl!(record, 8080, env())).rejects.toMatchObject(gone);
    expect(vendor.sandboxes()).toEqual([]);
    await expect(run({ ...record, sandboxId: "../../pool" }, "true")).rejects.toMatchObject(gone);
  });

  test("show a port", async () => {
    expect(await provider.cloud!.portUrl!(await sandbox(), 8080, env())).toBe("http://127.0.0.1:8080");
    await expect(provider.cloud!.portUrl!(await sandbox(), 22, env())).rejects.toMatchObject({
      code: "provider_failed",
    });
  });
});

describe("a create that fails", () => {
  const create = (signal?: AbortSignal) =>
    provider.createSandbox({ engine: "shell", metadata: { cerver_session_id: "sess_lost" } }, env(signal));

  test("leaves nothing behind when its answer is lost", async () => {
    vendor.fail({ create: "lost" });
    await expect(create()).rejects.toMatchObject({ code: "provider_failed" });
    expect(vendor.sandboxes()).toEqual([]);
  });

  test("leaves nothing behind when the caller leaves, however early", async () => {
    for (const ms of [0, 2, 10, 30]) {
      const leaving = new AbortController();
      const creating = create(leaving.signal);
      setTimeout(() => leaving.abort(new Error("left")), ms);
      const made = await creating.catch((error: Error) => error);
      // One that was quicker than its caller is there, as it was said to be.
      if (!(made instanceof Error)) await provider.deleteSandbox(made, env());
      else expect(made.message).toBe("left");
      expect(vendor.sandboxes()).toEqual([]);
    }
  });

  test("says what the vendor said", async () => {
    vendor.fail({ create: 429, retryAfter: 7 });
    await expect(create()).rejects.toMatchObject({
      code: "too_many_requests",
      details: { vendor_status: 429, vendor_code: "rate_limited", retry_after_ms: 7000 },
    });
    vendor.fail({ create: 401 });
    await expect(create()).rejects.toMatchObject({ code: "credentials_refused" });
    vendor.fail({ create: 500 });
    await expect(create()).rejects.toMatchObject({
      code: "provider_failed",
      message: expect.stringContaining("the vendor says no (500)"),
    });
  });
});

describe("credentials", () => {
  const verify = (credentials: Record<string, string>) => provider.cloud!.verify(env(undefined, credentials));

  test("are checked against the bridge, and start nothing", async () => {
    await verify({});
    await expect(verify({ cloudflare_sandbox_key: "wrong" })).rejects.toMatchObject({
      code: "credentials_refused",
      details: { vendor_code: "unauthorized" },
    });
    for (const url of ["ftp://x", "nonsense", "https://user:pw@x.test"])
      await expect(verify({ cloudflare_sandbox_url: url })).rejects.toMatchObject({
        code: "credentials_refused",
      });
    expect(vendor.sandboxes()).toEqual([]);
  });

  test("are in no failure, not even of a key that no header can hold", async () => {
    const broken = await verify({ cloudflare_sandbox_key: "broken\nin two\n" }).catch((error) => error);
    expect(broken).toMatchObject({ code: "provider_failed", message: expect.stringContaining("[key]") });
    expect(JSON.stringify(broken.toBody())).not.toContain("in two");
  });

  test("are not good when the bridge asks nobody for them", async () => {
    const open = await startCloudflareBridge({ key: "" });
    await expect(verify({ cloudflare_sandbox_url: open.url })).rejects.toMatchObject({
      code: "credentials_refused",
    });
    await open.close();
  });

  test("follow no redirect, and are in no error", async () => {
    const seen: string[] = [];
    const listening = async (listener: RequestListener) => {
      const server = createServer(listener).listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    };
    const elsewhere = await listening((request, answer) => {
      seen.push(request.url!);
      answer.end();
    });
    const away = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
    const answers = await listening((request, answer) => {
      if (request.url!.includes("pool")) return answer.writeHead(302, { location: away }).end();
      return answer.writeHead(500).end(`what is ${request.headers.authorization}?`);
    });
    const credentials = {
      cloudflare_sandbox_url: `http://127.0.0.1:${(answers.address() as AddressInfo).port}`,
    };
    const refused = await verify(credentials).catch((error) => error);
    expect(refused).toMatchObject({
      code: "provider_failed",
      message: expect.stringContaining("not followed"),
    });
    const told = await provider.cloud!.find("x", env(undefined, credentials)).catch((error) => error);
    expect(told.message).toContain("[key]");
    expect(JSON.stringify([refused.toBody(), told.toBody()])).not.toContain(KEY);
    expect(seen).toEqual([]);
    for (const server of [elsewhere, answers]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    const nobody = await verify(credentials).catch((error) => error);
    expect(nobody).toMatchObject({
      code: "provider_failed",
      message: expect.stringMatching(/ECONNREFUSED|UND_ERR_SOCKET/),
    });
  });
});

test("close() leaves no process and no file", async () => {
  const other = await startCloudflareBridge();
  const at = env(undefined, { cloudflare_sandbox_url: other.url, cloudflare_sandbox_key: other.key });
  const record = await provider.createSandbox({ engine: "shell", metadata: {} }, at);
  const running = provider.runSandbox(record, asked("setsid sleep 3020 & wait"), at).catch((error) => error);
  await expect.poll(() => sleepers("3020").length).toBe(1);
  const folder = other.folder(record.sandboxId);
  await other.close();
  expect(sleepers("3020")).toEqual([]);
  expect(existsSync(folder)).toBe(false);
  expect(await running).toMatchObject({ code: "compute_lost" });
});
