import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFORMANCE_CHECKS, runConformance } from "../src/gateway/compute/conformance.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../src/gateway/compute/contract.js";
import { p69Provider } from "../src/gateway/compute/providers/p69.js";
import { CerverError } from "../src/protocol/errors.js";
import type { RunEvent } from "../src/protocol/runs.js";
import type { SandboxRunAnswer, SandboxRunRequest } from "../src/protocol/sandbox.js";
import { readEventStream } from "../src/util/event-stream.js";
import { openCompute } from "./compute.js";

let folder: string;
let compute: Awaited<ReturnType<typeof openCompute>>;
let real: ProviderAdapter;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-suite-"));
  compute = await openCompute(join(folder, "state"), { HOME: folder }, { maxRuns: 64 });
  real = p69Provider(async (_, request) => compute.app.fetch(request));
});
afterAll(async () => {
  await compute.close();
  await rm(folder, { recursive: true, force: true });
});

const tried = (adapter: ProviderAdapter, only?: string[], signal?: AbortSignal) =>
  runConformance(
    { adapter, computeId: "cmp_suite", credentials: {} },
    { ...(only && { only }), ...(signal && { signal }) },
  );

type Run = [record: SandboxRecord, request: SandboxRunRequest, env: ProviderEnv];
type Bug = (real: ProviderAdapter) => Partial<ProviderAdapter>;

/** An adapter whose requests are changed on their way in. */
const asked =
  (change: (request: SandboxRunRequest, ...rest: [SandboxRecord, ProviderEnv]) => SandboxRunRequest): Bug =>
  (real) => ({
    runSandbox: (record, request, env) => real.runSandbox(record, change(request, record, env), env),
    runSandboxStream: (record, request, env) =>
      real.runSandboxStream(record, change(request, record, env), env),
  });

/** An adapter whose answers are changed on their way out. */
const answered =
  (change: (answer: SandboxRunAnswer) => object): Bug =>
  (real) => ({
    runSandbox: async (...call: Run) => {
      const response = await real.runSandbox(...call);
      return response.ok ? Response.json(change((await response.json()) as SandboxRunAnswer)) : response;
    },
  });

/** An adapter whose streams' events are changed on their way out. */
const streamed =
  (change: (event: RunEvent) => RunEvent | undefined): Bug =>
  (real) => ({
    runSandboxStream: async (...call: Run) => {
      const response = await real.runSandboxStream(...call);
      if (!response.ok) return response;
      const events = readEventStream(response.body!);
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const { done, value } = await events.next();
          if (done) return controller.close();
          const event = change(JSON.parse(value.data) as RunEvent);
          const text = event ? `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n` : ": nothing\n\n";
          controller.enqueue(Buffer.from(text));
        },
        cancel: () => events.return(undefined).then(() => {}),
      });
      return new Response(body, { headers: response.headers });
    },
  });

const forever = new AbortController().signal;
const without = (env: ProviderEnv): ProviderEnv => ({ ...env, signal: forever });
/** Waits at the caller's side only: what was asked goes on. */
const abandoned = <T>(promise: Promise<T>, signal: AbortSignal) =>
  Promise.race([
    promise,
    new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
    ),
  ]);

/** What adapters get wrong: the check that has to find it, and the bug. */
const PLANTED: [what: string, check: string, bug: Bug][] = [
  [
    "reports exit code 0 always",
    "exit-code",
    answered((a) => ({ ...a, success: true, status: "succeeded", exit_code: 0 })),
  ],
  [
    "takes every failure for exit code 1",
    "exit-not-found",
    answered((a) => ({ ...a, exit_code: a.exit_code ? 1 : 0 })),
  ],
  [
    "reports a signal as a bare number",
    "exit-signal",
    answered((a) => ({ ...a, exit_code: (a.exit_code ?? 0) % 128 })),
  ],
  [
    "tells another end in streams",
    "exit-streamed",
    streamed((e) => (e.type === "exit" ? { ...e, exit_code: 0, status: "succeeded" } : e)),
  ],
  [
    "takes timeouts for failures",
    "timeout",
    answered((a) => ({ ...a, status: a.status === "timed_out" ? "failed" : a.status })),
  ],
  ["ignores the timeout", "timeout", asked(({ timeout: _, ...request }) => request)],
  [
    "takes the timeout for milliseconds",
    "timeout-not-yet",
    asked((r) => ({ ...r, timeout: (r.timeout ?? 30_000) / 1000 })),
  ],
  [
    "merges stderr into stdout",
    "output-apart",
    asked((r) => (r.runtime === "node" ? r : { ...r, code: `exec 2>&1\n${r.code}` })),
  ],
  ["loses the last byte", "output-no-newline", answered((a) => ({ ...a, stdout: a.stdout.slice(0, -1) }))],
  ["trims what was printed", "output-no-newline", answered((a) => ({ ...a, stdout: a.stdout.trim() }))],
  [
    "delivers the stream at the end",
    "stream-live",
    (real) => ({
      runSandboxStream: async (...call: Run) => {
        const response = await real.runSandboxStream(...call);
        return new Response(await response.arrayBuffer(), response);
      },
    }),
  ],
  [
    "decodes binary output as text",
    "output-binary",
    answered(({ stdout_encoding, ...a }) => ({
      ...a,
      stdout: stdout_encoding ? Buffer.from(a.stdout, "base64").toString("utf8") : a.stdout,
    })),
  ],
  [
    "decodes each chunk of a stream by itself",
    "output-split-utf8",
    streamed((e) =>
      e.type === "stdout" && e.encoding
        ? { type: "stdout", offset: e.offset, data: Buffer.from(e.data, "base64").toString("utf8") }
        : e,
    ),
  ],
  ["does not say that output was cut", "output-10-mb", answered((a) => ({ ...a, truncated: false }))],
  [
    "counts the kept bytes only",
    "output-10-mb",
    answered((a) => ({ ...a, stdout_bytes: Buffer.byteLength(a.stdout) })),
  ],
  [
    "keeps the head of much output only",
    "output-10-mb",
    answered((a) => ({ ...a, stdout: a.stdout.slice(0, 500_000) })),
  ],
  [
    "numbers every event from 0",
    "stream-10-mb",
    streamed((e) => (e.type === "stdout" ? { ...e, offset: 0 } : e)),
  ],
  [
    "loses an event",
    "stream-10-mb",
    (real) => {
      let count = 0;
      return streamed((e) => (e.type === "stdout" && ++count === 5 ? undefined : e))(real);
    },
  ],
  [
    "ends a stream without an exit event",
    "exit-streamed",
    streamed((e) => (e.type === "exit" ? undefined : e)),
  ],
  ["drops envs", "envs", asked(({ envs: _, ...request }) => request)],
  [
    "quotes envs badly",
    "envs",
    asked(({ envs = {}, ...r }) => ({
      ...r,
      code: `${Object.entries(envs)
        .map(([name, value]) => `export ${name}="${value}"`)
        .join("\n")}\n${r.code}`,
    })),
  ],
  ["ignores cwd", "cwd", asked(({ cwd: _, ...request }) => request)],
  [
    "lets cwd leave",
    "cwd-leaving",
    asked(({ cwd, ...r }) => (cwd === undefined ? r : { ...r, code: `cd '${cwd}' && { ${r.code}\n}` })),
  ],
  [
    "makes a cwd that is missing",
    "cwd-missing",
    asked(({ cwd, ...r }) =>
      cwd === undefined ? r : { ...r, code: `mkdir -p '${cwd}'; cd '${cwd}'; ${r.code}` },
    ),
  ],
  ["drops stdin", "stdin", asked(({ stdin: _, ...request }) => request)],
  [
    "adds a newline to stdin",
    "stdin",
    asked((r) => (r.stdin === undefined ? r : { ...r, stdin: `${r.stdin}\n` })),
  ],
  ["runs node's text as shell", "node", asked((r) => ({ ...r, runtime: "shell" }))],
  [
    "runs node's text as CommonJS",
    "node",
    asked((r) =>
      r.runtime === "node"
        ? { ...r, runtime: "shell", code: `cat > m.cjs <<'END'\n${r.code}\nEND\nnode m.cjs` }
        : r,
    ),
  ],
  [
    "passes the text through double quotes",
    "code-exact",
    asked((r) => ({ ...r, code: `eval "${r.code.replaceAll('"', '\\"')}"` })),
  ],
  [
    "keeps one shell's state for all runs",
    "fresh-shell",
    asked((r) => ({
      ...r,
      code: `E=$PWD/.env; [ -f $E ] && . $E\n${r.code}\n{ echo "cd '$PWD'"; export -p; } > $E`,
    })),
  ],
  [
    "ignores unknown options",
    "unknown-refused",
    asked(({ code, runtime, timeout, envs, cwd, stdin, run_id }) => ({
      code,
      runtime: runtime === "node" ? "node" : "shell",
      ...(timeout !== undefined && { timeout }),
      ...(envs && { envs }),
      ...(cwd !== undefined && { cwd }),
      ...(stdin !== undefined && { stdin }),
      ...(run_id !== undefined && { run_id }),
    })),
  ],
  ["ignores background without durable runs", "unsupported-refused", () => ({ durable: undefined as never })],
  [
    "does not make folders",
    "files-text",
    (real) => ({
      writeFile: async (record, file, env) =>
        file.path.includes("/") && !(await real.readFile(record, file.path, "utf8", env)).ok
          ? new CerverError("file_not_found", "There is no such folder.").toBody() &&
            problem("file_not_found")
          : real.writeFile(record, file, env),
    }),
  ],
  [
    "writes base64 as it came",
    "files-binary",
    (real) => ({
      writeFile: (record, file, env) => real.writeFile(record, { ...file, encoding: "utf8" }, env),
    }),
  ],
  [
    "reads a missing file as empty",
    "files-missing",
    (real) => ({
      readFile: async (record, path, encoding, env) => {
        const response = await real.readFile(record, path, encoding, env);
        return response.status === 404 ? Response.json({ path, content: "", encoding, size: 0 }) : response;
      },
    }),
  ],
  [
    "lets paths leave by cutting their dots",
    "files-leaving",
    (real) => ({
      writeFile: (record, file, env) =>
        real.writeFile(record, { ...file, path: file.path.replace(/^\/|\.\.\//g, "") }, env),
      readFile: (record, path, encoding, env) =>
        real.readFile(record, path.replace(/^\/|\.\.\//g, ""), encoding, env),
    }),
  ],
  [
    "merges state instead of replacing it",
    "state",
    (real) => ({
      setState: async (record, state, env) => {
        const before = (await (await real.getState(record, env)).json()) as { state: object };
        return real.setState(record, { ...before.state, ...state }, env);
      },
    }),
  ],
  [
    "gives one sandbox to everybody",
    "sandboxes-apart",
    (real) => {
      let one: Promise<SandboxRecord> | undefined;
      return { createSandbox: (request, env) => (one ??= real.createSandbox(request, env)) };
    },
  ],
  [
    "forgets the environment of the create call",
    "sandbox-env",
    (real) => ({
      createSandbox: (request, env) => real.createSandbox({ ...request, metadata: {} }, env),
    }),
  ],
  [
    "fails when it deletes again",
    "delete-twice",
    (real) => {
      const gone = new Set<string>();
      return {
        deleteSandbox: async (record, env) => {
          if (gone.has(record.sandboxId)) return problem("sandbox_not_found");
          gone.add(record.sandboxId);
          return real.deleteSandbox(record, env);
        },
      };
    },
  ],
  [
    "only says that it deleted",
    "after-delete",
    () => ({ deleteSandbox: async () => Response.json({ success: true }) }),
  ],
  [
    "takes one run after the other",
    "ten-at-once",
    (real) => {
      let last: Promise<unknown> = Promise.resolve();
      return {
        runSandbox: (...call: Run) => {
          const mine = last.then(() => real.runSandbox(...call));
          last = mine.catch(() => {});
          return mine;
        },
      };
    },
  ],
  [
    "throws a TypeError for a file that is missing",
    "error-shapes",
    (real) => ({
      readFile: async (...call) => {
        const response = await real.readFile(...call);
        if (!response.ok) throw new TypeError("fetch failed");
        return response;
      },
    }),
  ],
  [
    "fails with plain text",
    "error-shapes",
    (real) => ({
      getState: async (...call) => {
        const response = await real.getState(...call);
        return response.ok ? response : new Response("Not Found", { status: 404 });
      },
    }),
  ],
  [
    "only says that it installed",
    "install",
    (real) => ({
      installPackage: (record, _, env) => real.runSandbox(record, { code: "true", runtime: "shell" }, env),
    }),
  ],
  [
    "installs whatever name it gets",
    "install-names",
    (real) => ({
      installPackage: (record, { package: name }, env) =>
        real.runSandbox(record, { code: `echo would install; : '${name}'`, runtime: "shell" }, env),
    }),
  ],
  [
    "leaves the run behind when its caller leaves",
    "cancel-run",
    (real) => ({
      runSandbox: (record, request, env) =>
        abandoned(real.runSandbox(record, request, without(env)), env.signal),
    }),
  ],
  [
    "leaves the run behind when the stream is aborted",
    "cancel-stream",
    (real) => ({
      runSandboxStream: async (record, request, env) => {
        const response = await real.runSandboxStream(record, request, without(env));
        const [ours, theirs] = response.body!.tee();
        env.signal.addEventListener("abort", () => void ours.cancel().catch(() => {}), { once: true });
        void drain(theirs);
        return new Response(ours, response);
      },
    }),
  ],
  [
    "reads on when the body is cancelled",
    "cancel-body",
    (real) => ({
      runSandboxStream: async (...call: Run) => {
        const response = await real.runSandboxStream(...call);
        const [ours, theirs] = response.body!.tee();
        void drain(theirs);
        return new Response(ours, response);
      },
    }),
  ],
  [
    "cancels every run of the sandbox",
    "cancel-neighbours",
    (real) => {
      const everybody = new Set<AbortController>();
      return {
        runSandbox: async (record, request, env) => {
          const mine = new AbortController();
          everybody.add(mine);
          const onAbort = () => {
            for (const one of everybody) one.abort(new Error("somebody left"));
          };
          env.signal.addEventListener("abort", onAbort, { once: true });
          return real.runSandbox(record, request, { ...env, signal: mine.signal });
        },
      };
    },
  ],
  [
    "starts a durable run twice",
    "durable-start",
    (real) => ({
      durable: {
        ...real.durable!,
        start: async (record, { run_id: _, ...request }, env) => real.durable!.start(record, request, env),
      },
    }),
  ],
];

async function drain(body: ReadableStream<Uint8Array>): Promise<void> {
  try {
    for await (const _ of body as unknown as AsyncIterable<Uint8Array>);
  } catch {
    // It ends when its run is ended at the end of the test.
  }
}

function problem(code: "file_not_found" | "sandbox_not_found"): Response {
  const error = new CerverError(code, "It is not there.");
  return Response.json(error.toBody(), { status: error.status });
}

describe("an adapter that", () => {
  test.concurrent.each(PLANTED)("%s is found by %s", { timeout: 150_000 }, async (_, check, bug) => {
    const { results, failed } = await tried({ ...real, ...bug(real) } as ProviderAdapter, [check]);
    const found = results.find(({ name }) => name === check)!;
    expect(found, JSON.stringify(results)).toMatchObject({
      outcome: "failed",
      why: expect.stringMatching(/\S{3}/),
    });
    expect(found.why).not.toContain("It took longer than");
    expect(failed).toBeGreaterThan(0);
  });
});

describe("the suite", () => {
  test("has checks with names of their own, and the planted bugs cover most of them", () => {
    const names = CONFORMANCE_CHECKS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(PLANTED.filter(([, check]) => !names.includes(check))).toEqual([]);
  });

  test("counts, and deletes what it made", async () => {
    const before = compute.sandboxes.size;
    const card = await tried(real, ["exit-", "sandboxes-apart", "cloud-find"]);
    expect(card).toMatchObject({ provider: "p69", passed: 6, failed: 0, skipped: 1, left_behind: [] });
    expect(card.results.find(({ outcome }) => outcome === "skipped")?.why).toBe("It is no cloud vendor's.");
    expect(compute.sandboxes.size).toBe(before);
  });

  test("says which sandboxes it could not delete", async () => {
    const made: SandboxRecord[] = [];
    const card = await tried(
      {
        ...real,
        createSandbox: async (request, env) => {
          const record = await real.createSandbox(request, env);
          made.push(record);
          return record;
        },
        deleteSandbox: async () => {
          throw new CerverError("provider_failed", "The vendor is away.");
        },
      },
      ["exit-zero", "sandbox-record"],
    );
    expect(card.passed).toBe(2);
    expect(card.left_behind.sort()).toEqual(
      made.map(({ sandboxId }) => expect.stringContaining(`Sandbox ${sandboxId} is still there`)).sort(),
    );
    expect(card.left_behind[0]).toContain("The vendor is away.");
  });

  test("ends when its signal aborts, and deletes what it made", async () => {
    const before = compute.sandboxes.size;
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("ctrl-c")), 700);
    const began = performance.now();
    const card = await tried(real, ["timeout"], stop.signal);
    expect(card).toMatchObject({ interrupted: true, failed: 1, left_behind: [] });
    expect(card.results[0]!.why).toBe("It was interrupted.");
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(compute.sandboxes.size).toBe(before);
  });

  test("a check that hangs is given up", async () => {
    const hanging = { ...real, runSandbox: () => new Promise<never>(() => {}) };
    const { CheckFailed } = await import("../src/gateway/compute/conformance/check.js");
    const { ConformanceSession } = await import("../src/gateway/compute/conformance.js");
    const session = new ConformanceSession({ adapter: hanging, computeId: "c", credentials: {} });
    const check = {
      name: "hangs",
      about: "",
      seconds: 1,
      run: async (c: { run(code: string): Promise<unknown> }) => void (await c.run("true")),
    };
    expect(await session.run(check)).toMatchObject({ outcome: "failed", why: "It took longer than 1 s." });
    expect(await session.close()).toEqual([]);
    expect(CheckFailed.name).toBe("CheckFailed");
  });

  test("refuses names that no check has", async () => {
    await expect(tried(real, ["nonsense"])).rejects.toMatchObject({
      code: "invalid_request",
      message: "No check is called “nonsense”.",
      hint: expect.stringContaining("exit-zero"),
    });
  });
});
