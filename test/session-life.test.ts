import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Cerver, isAlive, startCerver } from "./harness.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver({ deps: { lookMs: 50 } });
});
afterAll(() => cerver.stop());

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, body: await response.json() };
}
const run = (id: string, code: string) => ask("POST", `/v2/sessions/${id}/run`, { code });
const record = async (id: string) => (await ask("GET", `/v2/sessions/${id}?tail=50`)).body;

describe("a session that rests", () => {
  test("ends its runs, refuses new ones with the way out, and has its files when it is back", async () => {
    const id = await cerver.session();
    await run(id, "echo kept > file.txt");
    const started = await ask("POST", `/v2/sessions/${id}/runs`, { code: "sleep 60 & echo $! > pid; wait" });
    await expect.poll(async () => (await run(id, "cat pid")).body.result.stdout).toMatch(/^\d+\n$/);
    const pid = Number((await run(id, "cat pid")).body.result.stdout);

    expect(await ask("POST", `/v2/sessions/${id}/pause`, {})).toMatchObject({
      status: 200,
      body: { paused: true },
    });
    expect(await isAlive(pid)).toBe(false);
    expect((await ask("GET", `/v2/sessions/${id}/runs/${started.body.run_id}`)).body).toMatchObject({
      status: "cancelled",
      end_reason: "paused",
    });
    expect(await run(id, "true")).toMatchObject({
      status: 409,
      body: { code: "conflict", hint: expect.stringContaining(`/v2/sessions/${id}/resume`) },
    });
    expect((await record(id)).pausedAt).toMatch(/^20/);
    expect((await ask("GET", `/v2/sessions/${id}/why`)).body).toMatchObject({ state: "paused" });

    expect(await ask("POST", `/v2/sessions/${id}/resume`, {})).toMatchObject({
      status: 200,
      body: { paused: false },
    });
    expect((await run(id, "cat file.txt")).body.result.stdout).toBe("kept\n");
    const words = (await record(id)).transcript.filter(({ kind }: { kind: string }) => kind === "compute");
    expect(words.map(({ content }: { content: string }) => content)).toEqual([
      "Paused (asked for): the compute is released.",
      "Resumed on the same compute.",
    ]);
  });

  test("rests by itself when nobody uses it: reading does not count, a run does", async () => {
    const id = await cerver.session({ idle_timeout_minutes: 1 / 60 });
    await run(id, "sleep 1.6");
    expect((await ask("GET", `/v2/sessions/${id}/why`)).body).toMatchObject({
      state: "waiting",
      last_activity: { kind: "run" },
      sleeps_at: expect.any(String),
      activity: [{ kind: "run", count: 1 }],
    });
    await expect.poll(async () => (await record(id)).pausedAt, { timeout: 8_000 }).toBeDefined();
    expect((await record(id)).endReason).toBe(null);
  });

  test("ends at its deadline, with what runs in it", async () => {
    const id = await cerver.session({ requirements: { timeout_minutes: 1 / 60 } });
    const pending = run(id, "echo $$ ; sleep 30");
    await expect.poll(async () => (await record(id)).status, { timeout: 8_000 }).toBe("ended");
    expect(await record(id)).toMatchObject({ endReason: "deadline", deadlineAt: expect.any(String) });
    // Whatever the caller is told, it is not that the command went well.
    const { body } = await pending;
    expect(body.status ?? body.code).not.toBe("succeeded");
    expect(await run(id, "true")).toMatchObject({ status: 410 });
  });
});

describe("a session and its compute", () => {
  test("lets its compute go, and gets another", async () => {
    const id = await cerver.session();
    expect(await ask("POST", `/v2/sessions/${id}/compute`, { compute: null })).toMatchObject({
      status: 200,
      body: { provider: "none", compute_id: null },
    });
    expect(await run(id, "true")).toMatchObject({ status: 409, body: { code: "no_compute" } });
    expect(await ask("POST", `/v2/sessions/${id}/compute`, { compute: { provider: "p69" } })).toMatchObject({
      status: 200,
      body: { provider: "p69", routing: { recommended_provider: "p69" } },
    });
    expect((await run(id, "echo back")).body.result.stdout).toBe("back\n");
    expect(await ask("POST", `/v2/sessions/${id}/compute`, {})).toMatchObject({ status: 400 });
    expect(
      await ask("POST", `/v2/sessions/${id}/change-compute`, { compute_priority: ["cmp_nothing"] }),
    ).toMatchObject({
      status: 409,
    });
    expect((await run(id, "echo still")).body.result.stdout).toBe("still\n");
  });

  test("spawns a child as itself, on a compute of its own", async () => {
    const parent = await cerver.session({ task: "the parent", metadata: { team: "web" } });
    const { status, body } = await ask("POST", `/v2/sessions/${parent}/spawn`, { task: "the child" });
    expect(status).toBe(201);
    expect(body.sandbox_id).not.toBe((await record(parent)).sandboxId);
    expect(await record(body.session_id)).toMatchObject({
      parentSessionId: parent,
      task: "the child",
      metadata: { team: "web" },
    });
  });

  test("takes edges of its life in every word there was", async () => {
    const id = await cerver.session();
    await ask("POST", `/v2/sessions/${id}/status`, { status: "failed", end_reason: "cli gone" });
    expect(await record(id)).toMatchObject({ status: "failed", endReason: "cli gone" });
    await ask("POST", `/v2/sessions/${id}/status`, { status: "completed" });
    expect((await record(id)).status).toBe("ready");
    expect(await ask("POST", `/v2/sessions/${id}/status`, { status: "sideways" })).toMatchObject({
      status: 400,
    });
    await ask("POST", `/v2/sessions/${id}/status`, { status: "terminated" });
    expect(await record(id)).toMatchObject({ status: "ended", endReason: "terminated" });
  });

  test("tells how it came by its compute, and what would be chosen now", async () => {
    const id = await cerver.session({ policy: { mode: "fastest" } });
    const { body } = await ask("GET", `/v2/sessions/${id}/routing`);
    expect(body.decision).toMatchObject({ mode: "fastest", chosen: expect.stringMatching(/^comp_|^cmp_/) });
    expect(body.decision.candidates.map(({ provider }: { provider: string }) => provider)).toContain(
      "daytona",
    );
    expect(body.attempts).toMatchObject([{ ok: true, provider: "p69" }]);

    const explained = await ask("POST", "/v2/routing/explain", {
      requirements: { desktop: true, runtime: "cobol" },
    });
    expect(explained.body).toMatchObject({ chosen: null, why: expect.any(String) });
    expect((await ask("GET", "/v2/routing/replay?policy=cheapest&since=1h")).body).toMatchObject({
      mode: "cheapest",
    });
    expect((await ask("GET", "/v2/routing/replay?policy=pinned")).status).toBe(400);
  });
});

describe("finding sessions", () => {
  test("by labels and by metadata, which can be changed", async () => {
    const one = await cerver.session({ labels: { team: "web", tier: "1" }, metadata: { branch: "main" } });
    const two = await cerver.session({ labels: { team: "web" } });
    const ids = async (query: string) =>
      (await ask("GET", `/v2/sessions?${query}`)).body.sessions.map(
        ({ sessionId }: { sessionId: string }) => sessionId,
      );

    expect(await ids("label=team=web")).toEqual([two, one]);
    expect(await ids("label=team=web&label=tier=1")).toEqual([one]);
    expect(await ids("metadata.branch=main")).toEqual([one]);
    expect(await ids("provider=local&label=tier=1")).toEqual([one]);
    expect((await ask("GET", "/v2/sessions?label=team")).status).toBe(400);

    const patched = await ask("PATCH", `/v2/sessions/${two}`, { labels: { team: "ops" } });
    expect(patched.body.labels).toEqual({ team: "ops" });
    expect(await ids("label=team=ops")).toEqual([two]);
    expect(await ids("label=team=web")).toEqual([one]);
  });
});

describe("what an account may hold", () => {
  test("100 creates at once never go over the limit", async () => {
    const { body: before } = await ask("GET", "/v2/account/limits");
    const room = 7;
    await ask("PUT", "/v2/account/limits", { max_sessions: before.open_sessions + room });
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask("POST", "/v2/sessions", {})));
    const made = answers.filter(({ status }) => status === 201);
    const refused = answers.filter(({ status }) => status === 402);

    expect(made).toHaveLength(room);
    expect(refused).toHaveLength(100 - room);
    expect(refused[0]!.body).toMatchObject({ code: "spend_limit", kind: "max_sessions" });
    await Promise.all(made.map(({ body }) => ask("DELETE", `/v2/sessions/${body.session_id}`)));
    expect((await ask("GET", "/v2/account/limits")).body.open_sessions).toBe(before.open_sessions);
    await ask("PUT", "/v2/account/limits", { max_sessions: null });
  });

  test("its own machines cost nothing, and the ledger says how long they were used", async () => {
    const id = await cerver.session();
    const { body } = await ask("GET", `/v2/sessions/${id}/cost`);
    expect(body).toMatchObject({ cost_usd: 0, uses: [{ provider: "p69", ended_at: null }] });
  });
});

describe("news", () => {
  test("tells one session, or the whole account, what happens while it happens", async () => {
    const id = await cerver.session();
    const other = await cerver.session();
    const leave = new AbortController();
    const heard: string[] = [];
    const stream = await fetch(`${cerver.gateway.url}/v2/sessions/${id}/events`, {
      headers: { authorization: `Bearer ${cerver.token}` },
      signal: leave.signal,
    });
    const all = await fetch(`${cerver.gateway.url}/v2/events`, {
      headers: { authorization: `Bearer ${cerver.token}` },
      signal: leave.signal,
    });
    let everything = "";
    const listen = async (body: ReadableStream<Uint8Array>, take: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) take(decoder.decode(chunk));
    };
    const listening = Promise.allSettled([
      listen(stream.body!, (text) => heard.push(text)),
      listen(all.body!, (text) => (everything += text)),
    ]);

    await run(other, "echo elsewhere");
    await run(id, "echo told");
    await expect.poll(() => heard.join("")).toMatch(/"type":"run".*"succeeded"/);
    expect(heard.join("")).toContain("told");
    expect(heard.join("")).not.toContain("elsewhere");
    await ask("DELETE", `/v2/sessions/${id}`);
    await expect.poll(() => heard.join("")).toContain('"change":"ended"');
    expect(everything).toContain("elsewhere");
    leave.abort();
    await listening;
  });

  test("the same over a websocket, for those who may read", async () => {
    const id = await cerver.session();
    const url = `${cerver.gateway.url.replace("http", "ws")}/v2/sessions/${id}/stream/ws`;
    const open = (headers: Record<string, string>, at = url) =>
      new Promise<WebSocket | number>((resolve) => {
        const ws = new WebSocket(at, { headers });
        ws.once("open", () => resolve(ws));
        ws.once("unexpected-response", (_, { statusCode }) => resolve(statusCode!));
        ws.on("error", () => {});
      });
    expect(await open({})).toBe(401);
    expect(await open({ authorization: "Bearer ck_wrong" })).toBe(401);
    const token = { authorization: `Bearer ${cerver.token}` };
    expect(await open(token, url.replace(id, "sess_nothing"))).toBe(404);

    const ws = (await open(token)) as WebSocket;
    const heard: string[] = [];
    ws.on("message", (data) => heard.push(String(data)));
    await run(id, "echo by websocket");
    await expect.poll(() => heard.join("\n")).toMatch(/"type":"transcript".*by websocket[\s\S]*"succeeded"/);
    ws.close();
  });
});

describe("moving a session to another machine", () => {
  test("takes the working folder along, equal to the last byte, and refuses secrets", async () => {
    await cerver.attachRelay({ name: "second" });
    const computes = (await ask("GET", "/v2/computes")).body.computes;
    const [first, second] = ["test-host", "second"].map(
      (label) => computes.find((one: { label: string }) => one.label === label).compute_id,
    );
    const id = (await cerver.client.createSession({ target_compute_id: first })).session_id;
    const tree =
      "find . -mindepth 1 | sort | xargs -d '\\n' stat -c '%n %a %F'; find . -type f | sort | xargs sha256sum";
    await run(
      id,
      "mkdir -p src/deep; head -c 300000 /dev/urandom > src/deep/data; echo '#!/bin/sh' > run.sh; chmod 755 run.sh; ln -s run.sh link; echo .env > .gitignore",
    );
    const before = (await run(id, tree)).body.result.stdout;
    await run(id, "echo KEY=1 > .env");

    const refused = await ask("POST", `/v2/sessions/${id}/compute`, { compute: { compute_id: second } });
    expect(refused).toMatchObject({ status: 409, body: { error: expect.stringContaining(".env") } });
    expect((await record(id)).computeId).toBe(first);
    expect((await run(id, "cat .env")).body.result.stdout).toBe("KEY=1\n");

    const moved = await ask("POST", `/v2/sessions/${id}/compute`, {
      compute: { compute_id: second },
      leave_secrets: true,
    });
    expect(moved).toMatchObject({
      status: 200,
      body: { compute_id: second, carried: { files: 3, left_behind: [expect.stringContaining(".env")] } },
    });
    expect((await run(id, tree)).body.result.stdout).toBe(before);
    const { uses } = (await ask("GET", `/v2/sessions/${id}/cost`)).body;
    expect(uses[0]).toMatchObject({ compute_id: first, ended_at: expect.any(String) });
    expect(uses.at(-1)).toMatchObject({ compute_id: second, ended_at: null });
    expect(uses.filter(({ ended_at }: { ended_at: string | null }) => ended_at === null)).toHaveLength(1);
    expect((await ask("GET", "/v2/account/orphans")).body.orphans).toEqual([]);

    // Paused here, it comes back there, with the same files.
    await ask("POST", `/v2/sessions/${id}/pause`, {});
    const back = await ask("POST", `/v2/sessions/${id}/resume`, { compute: { compute_id: first } });
    expect(back).toMatchObject({ status: 200, body: { compute_id: first, paused: false } });
    expect(back.body.carried.tree_hash).toBe(moved.body.carried.tree_hash);
    expect((await run(id, tree)).body.result.stdout).toBe(before);
  });
});

describe("canaries", () => {
  test("are a share of the creates that ask for them, and no more, however many come at once", async () => {
    const policy = { canary: { share: 0.1 } };
    const answers = await Promise.all(
      Array.from({ length: 60 }, () => ask("POST", "/v2/sessions", { policy })),
    );
    const made = answers.filter(({ status }) => status === 201);
    const canaries = made.filter(({ body }) => body.routing.canary_run);
    expect(made).toHaveLength(60);
    expect(canaries.length).toBeGreaterThan(0);
    expect(canaries.length).toBeLessThanOrEqual(7);
    // A canary goes where the router would not have gone first, which changes as it learns.
    const { computes } = (await ask("GET", "/v2/computes")).body;
    const labelOf = new Map(computes.map((one: any) => [one.compute_id, one.label]));
    for (const { body } of canaries) {
      expect(body.routing.primary_reason).toMatch(/^Canary: .+ scored highest\.$/);
      expect(body.routing.primary_reason).not.toContain(`${labelOf.get(body.compute_id)} scored highest.`);
    }
    await Promise.all(made.map(({ body }) => ask("DELETE", `/v2/sessions/${body.session_id}`)));
  });
});
