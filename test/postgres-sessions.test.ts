import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { type Cerver, startCerver } from "./harness.js";
import { hasPostgres, startPostgres } from "./postgres.js";
import { type E2bServer, startE2bServer } from "./vendors/e2b-server.js";

const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

if (!hasPostgres) console.error("skipped: PostgreSQL is not on this machine");

describe.skipIf(!hasPostgres)("the session layer on PostgreSQL", () => {
  let cerver: Cerver;
  let e2b: E2bServer;
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  beforeAll(async () => {
    postgres = await startPostgres();
    e2b = await startE2bServer({ apiKey: E2B_KEY });
    cerver = await startCerver({
      gateway: { databaseUrl: postgres.url },
      deps: { lookMs: 50, adapters: [e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl })] },
    });
  });
  afterAll(async () => {
    await cerver.stop();
    await e2b.close();
    await postgres.stop();
  });

  async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
    const response = await cerver.call(method, path, body);
    return { status: response.status, body: await response.json() };
  }
  const run = (id: string, code: string) => ask("POST", `/v2/sessions/${id}/run`, { code });

  test("runs, rests, wakes, and says why it is awake and what it cost", async () => {
    const id = await cerver.session({ labels: { team: "web" }, metadata: { branch: "main" } });
    await run(id, "echo kept > file");
    expect((await ask("POST", `/v2/sessions/${id}/pause`, {})).body.paused).toBe(true);
    expect((await ask("POST", `/v2/sessions/${id}/resume`, {})).body.paused).toBe(false);
    expect((await run(id, "cat file")).body.result.stdout).toBe("kept\n");
    expect((await ask("GET", `/v2/sessions/${id}/why`)).body.activity).toEqual(
      expect.arrayContaining([expect.objectContaining({ kind: "run", count: 2 })]),
    );
    expect((await ask("GET", `/v2/sessions/${id}/cost`)).body.uses).toHaveLength(2);
    const found = (await ask("GET", "/v2/sessions?label=team=web&metadata.branch=main")).body.sessions;
    expect(found.map(({ sessionId }: { sessionId: string }) => sessionId)).toEqual([id]);
    expect((await ask("GET", `/v2/sessions/${id}/routing`)).body.decision.order).toHaveLength(1);
    expect((await ask("GET", "/v2/routing/replay?policy=fastest")).body.decisions).toBe(1);
  });

  test("ends at its deadline", async () => {
    const id = await cerver.session({ requirements: { timeout_minutes: 1 / 60 } });
    await expect
      .poll(async () => (await ask("GET", `/v2/sessions/${id}`)).body.endReason, { timeout: 8_000 })
      .toBe("deadline");
  });

  test("keeps credentials, and the cap while many creates come at once", async () => {
    const enabled = await ask("POST", "/v2/account/providers", {
      provider: "e2b",
      credentials: { e2b_api_key: E2B_KEY },
    });
    expect(enabled.status).toBe(201);
    // A session that ends counts until its sandbox is gone.
    const open = async () => (await ask("GET", "/v2/account/limits")).body.open_sessions;
    await expect.poll(open).toBe(1);
    await ask("PUT", "/v2/account/limits", { max_sessions: 1 + 4 });
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" })),
    );
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(4);
    expect(answers.filter(({ status }) => status === 402)).toHaveLength(36);
    expect((await run(made[0]!.body.session_id, "echo cloud")).body.result.stdout).toBe("cloud\n");
    await Promise.all(made.map(({ body }) => ask("DELETE", `/v2/sessions/${body.session_id}`)));
    expect(e2b.sandboxes).toEqual([]);
  });

  test("compares providers, and makes sandboxes without sessions", async () => {
    await ask("PUT", "/v2/account/limits", { max_sessions: null });
    const { body } = await ask("POST", "/v2/stress-tests", { providers: ["e2b"], seed: 1 });
    expect((await ask("GET", `/v2/stress-tests/${body.stress_test_id}`)).body).toEqual(body);
    const made = (await ask("POST", "/sandbox", {})).body.sandbox_id;
    expect((await ask("POST", `/sandbox/${made}/run`, { code: "echo hi" })).body.stdout).toBe("hi\n");
    expect((await ask("DELETE", `/sandbox/${made}`)).status).toBe(200);
  });
});
