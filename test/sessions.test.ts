import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(() => cerver.stop());

const json = async (response: Promise<Response>) => {
  const answer = await response;
  return { status: answer.status, body: (await answer.json()) as any };
};

describe("creating a session", () => {
  test("answers with every field of the seed's example", async () => {
    const { status, body } = await json(
      cerver.call("POST", "/v2/sessions", {
        task: "Boot a preview environment for a Next.js repo",
        workload: "preview",
        repo: {
          name: "branch-monkey",
          framework: "nextjs",
          languages: ["typescript"],
          signals: ["needs-preview"],
        },
        requirements: {
          runtime: "node",
          package_install: true,
          persistence_level: "medium",
          timeout_minutes: 20,
        },
        policy: { mode: "balanced", allowed_providers: ["p69", "e2b"], max_startup_ms: 2000 },
        session_name: "preview-session",
      }),
    );
    expect(status).toBe(201);
    expect(body).toEqual({
      session_id: expect.stringMatching(/^sess_[0-9a-f]{32}$/),
      session_name: "preview-session",
      status: "ready",
      provider: "p69",
      compute_id: cerver.relay!.computeId,
      sandbox_id: expect.stringMatching(/^sbx_/),
      metrics: {
        provision_time_ms: expect.any(Number),
        time_to_first_exec_ms: null,
        last_exec_latency_ms: null,
        average_exec_latency_ms: null,
        average_stream_open_latency_ms: null,
        total_exec_count: 0,
        total_stream_count: 0,
        interaction_count: 0,
        session_length_ms: expect.any(Number),
        cost_estimate_usd: 0,
        uptime_percent: 100,
        predicted_startup_ms: null,
        engagement_score: 0,
        engagement_label: "warming",
      },
      routing: {
        recommended_provider: "p69",
        confidence: "high",
        primary_reason: "test-host is the only ready compute",
        secondary_reasons: expect.arrayContaining(["It has the node runtime", "Packages can be installed"]),
        fallback_order: [],
        canary_run: false,
      },
    });
  });

  test("learns the startup time from the account's own sessions", async () => {
    const { body } = await json(cerver.call("POST", "/v2/sessions", {}));
    expect(body.metrics.predicted_startup_ms).toBeGreaterThan(0);
    expect(body.routing.secondary_reasons[0]).toMatch(/^Startup \d+ ms, measured/);
  });

  test("makes a transcript-only session with compute null, in which nothing runs", async () => {
    const { body } = await json(cerver.call("POST", "/v2/sessions", { compute: null }));
    expect(body).toMatchObject({ provider: "none", compute_id: null, sandbox_id: null });
    const { status, body: refusal } = await json(
      cerver.call("POST", `/v2/sessions/${body.session_id}/run`, { code: "true" }),
    );
    expect({ status, code: refusal.code }).toEqual({ status: 409, code: "no_compute" });
  });

  test("names fields it does not know, and goes on", async () => {
    const { status, body } = await json(cerver.call("POST", "/v2/sessions", { fancy_new_field: 1 }));
    expect({ status, warnings: body.warnings }).toEqual({
      status: 201,
      warnings: ['"fancy_new_field" is not a field this gateway knows, so it was ignored.'],
    });
  });

  test("keeps nothing of a field it does not know", async () => {
    await json(cerver.call("POST", "/v2/sessions", { env: { TOKEN: "s3cret-in-the-wrong-place" } }));
    const read = (name: string) => readFile(join(cerver.folder, "data", name), "latin1").catch(() => "");
    expect((await read("cerver.db")) + (await read("cerver.db-wal"))).not.toContain("s3cret-in-the");
  });

  test("answers 409 with the recommendation report when the pinned provider is not there", async () => {
    const { status, body } = await json(
      cerver.call("POST", "/gateway/sessions", {
        task: "Run a quick shell command",
        policy: { mode: "pinned", pinned_provider: "vercel", allowed_providers: ["vercel"] },
      }),
    );
    expect(status).toBe(409);
    expect(body).toMatchObject({
      error: "Vercel Sandbox cannot be used by this account yet.",
      code: "no_compute",
      report: {
        recommended_provider: "p69",
        candidates: expect.arrayContaining([
          expect.objectContaining({ provider: "vercel", executable: false }),
        ]),
        next_steps: expect.arrayContaining([
          `Use what is ready: "target_compute_id": "${cerver.relay!.computeId}"`,
        ]),
      },
    });
  });

  test("keeps the values of metadata.env from the record, and gives them to runs", async () => {
    const id = await cerver.session({ metadata: { env: { API_PASSWORD: "s3cret" }, source: "test" } });
    const { result } = await cerver.client.run(id, {
      code: "printf %s $API_PASSWORD | wc -c; echo $API_PASSWORD",
    });
    expect(result.stdout).toBe("6\n[redacted:API_PASSWORD]\n");
    const { body } = await json(cerver.call("GET", `/v2/sessions/${id}`));
    expect(body.metadata).toEqual({ env: { API_PASSWORD: "[hidden]" }, source: "test" });
  });

  test("works in a folder of the user's only when the relay allows it", async () => {
    const { status, body } = await json(
      cerver.call("POST", "/v2/sessions", { metadata: { working_dir: "/etc" } }),
    );
    expect({ status, code: body.code, hint: body.hint }).toEqual({
      status: 403,
      code: "forbidden",
      hint: "Start the relay with --allow-dir for a folder that holds it, or leave working_dir out.",
    });
    const relay = await cerver.attachRelay({ name: "open-host", allowDirs: [cerver.folder] });
    const id = await cerver.session({
      target_compute_id: relay.computeId,
      metadata: { working_dir: cerver.folder },
    });
    expect((await cerver.client.run(id, { code: "pwd" })).result.stdout.trim()).toBe(cerver.folder);
    await cerver.client.closeSession(id);
    expect((await import("node:fs")).existsSync(cerver.folder)).toBe(true);
    await relay.stop();
  });
});

describe("reading sessions", () => {
  test("lists newest first, by pages, without transcripts", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++)
      ids.unshift(await cerver.session({ compute: null, metadata: { source: "paging" } }));
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await cerver.client.sessions({ limit: 2, source: "paging", ...(cursor && { cursor }) });
      seen.push(...page.sessions.map((session) => session.sessionId));
      expect(page.sessions[0]).not.toHaveProperty("transcript");
      cursor = page.next_cursor;
    } while (cursor);
    expect(seen).toEqual(ids);
  });

  test("filters by status, in every vocabulary", async () => {
    const id = await cerver.session({ compute: null });
    await cerver.client.closeSession(id);
    for (const word of ["ended", "completed", "terminated"]) {
      const { sessions } = await cerver.client.sessions({ status: word, limit: 200 });
      expect(sessions.some((session) => session.sessionId === id)).toBe(true);
      expect(sessions.every((session) => session.status === "ended")).toBe(true);
    }
  });

  test("returns the newest 200 entries, or what is asked for, and always the total", async () => {
    const id = await cerver.session({ compute: null });
    await cerver.client.appendTranscript(
      id,
      Array.from({ length: 250 }, (_, i) => ({ role: "user" as const, content: `${i}` })),
    );
    const read = async (query: string) => {
      const { body } = await json(cerver.call("GET", `/v2/sessions/${id}${query}`));
      expect(body.transcriptTotal).toBe(250);
      return body.transcript.map((entry: { seq: number; content: string }) => {
        expect(entry.content).toBe(String(entry.seq));
        return entry.seq;
      });
    };
    const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
    expect(await read("")).toEqual(range(50, 250));
    expect(await read("?tail=3")).toEqual(range(247, 250));
    expect(await read("?tail=0")).toEqual([]);
    expect(await read("?since=248")).toEqual(range(248, 250));
    expect(await read("?since=10&limit=5")).toEqual(range(10, 15));
    expect(await read("?full=1")).toEqual(range(0, 250));
  });
});

describe("writing transcripts", () => {
  test("numbers entries without gaps, however many append at once", async () => {
    const id = await cerver.session({ compute: null });
    await Promise.all(
      Array.from({ length: 20 }, (_, writer) =>
        cerver.client.appendTranscript(
          id,
          Array.from({ length: 10 }, (_, i) => ({ role: "assistant" as const, content: `${writer}.${i}` })),
        ),
      ),
    );
    const { transcript } = await cerver.client.session(id, { full: "1" });
    expect(transcript.map((entry) => entry.seq)).toEqual(Array.from({ length: 200 }, (_, i) => i));
    for (let writer = 0; writer < 20; writer++) {
      const own = transcript.filter((entry) => entry.content.startsWith(`${writer}.`));
      expect(own.map((entry) => entry.content)).toEqual(
        Array.from({ length: 10 }, (_, i) => `${writer}.${i}`),
      );
    }
  });

  test("appends an entry with an idempotency key once, and an equal one without a key again", async () => {
    const id = await cerver.session({ compute: null });
    const entry = { role: "assistant" as const, content: "done", idempotency_key: "turn-1" };
    expect(await cerver.client.appendTranscript(id, [entry, entry])).toMatchObject({
      appended: 1,
      transcript_total: 1,
    });
    expect(await cerver.client.appendTranscript(id, [entry])).toMatchObject({
      appended: 0,
      transcript_total: 1,
    });
    const { idempotency_key: _, ...plain } = entry;
    expect(await cerver.client.appendTranscript(id, [plain, plain])).toMatchObject({
      appended: 2,
      transcript_total: 3,
    });
    expect((await cerver.client.session(id)).transcript.map((e) => e.seq)).toEqual([0, 1, 2]);
  });

  test("takes input as one user entry, and counts it", async () => {
    const id = await cerver.session({ compute: null });
    const { status, body } = await json(
      cerver.call("POST", `/v2/sessions/${id}/input`, { content: "hello", role: "user" }),
    );
    expect({ status, body }).toMatchObject({ status: 200, body: { appended: 1, transcript_total: 1 } });
    const record = await cerver.client.session(id);
    expect(record.transcript).toMatchObject([{ role: "user", kind: "text", content: "hello" }]);
    expect(record.metrics).toMatchObject({ interaction_count: 1, engagement_score: 2 });
  });

  test("merges metadata, key by key", async () => {
    const id = await cerver.session({ compute: null, metadata: { a: 1, b: { deep: true } } });
    await cerver.client.patchSession(id, { b: 2, c: 3 });
    expect((await cerver.client.session(id)).metadata).toEqual({ a: 1, b: 2, c: 3 });
  });

  test("a purged session is gone", async () => {
    const id = await cerver.session();
    expect((await json(cerver.call("DELETE", `/v2/sessions/${id}?purge=1`))).status).toBe(200);
    expect((await json(cerver.call("GET", `/v2/sessions/${id}`))).status).toBe(404);
  });
});
