import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { vercelProvider } from "../src/gateway/compute/providers/vercel.js";
import { type Cerver, startCerver } from "./harness.js";
import { startE2bServer } from "./vendors/e2b-server.js";
import { startVercelServer } from "./vendors/vercel-server.js";

// Every JSON example of the user's specification, as it stands there, against a gateway with both of its providers.

const VERCEL_TOKEN = "vcp_0123456789abcdefghijklmn";
const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

let cerver: Cerver;
const closing: (() => Promise<void>)[] = [];
beforeAll(async () => {
  const vercel = await startVercelServer({ token: VERCEL_TOKEN, teamId: "team_1", projectId: "prj_1" });
  const e2b = await startE2bServer({ apiKey: E2B_KEY });
  closing.push(vercel.close, e2b.close);
  cerver = await startCerver({
    deps: {
      adapters: [
        vercelProvider({ fetch: vercel.fetch }),
        e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl }),
      ],
    },
  });
});
afterAll(async () => {
  await cerver.stop();
  await Promise.all(closing.map((close) => close()));
});

async function ask(
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; headers: Headers; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const METRICS = {
  provision_time_ms: expect.any(Number),
  time_to_first_exec_ms: null,
  last_exec_latency_ms: null,
  average_exec_latency_ms: null,
  average_stream_open_latency_ms: null,
  total_exec_count: 0,
  total_stream_count: 0,
  interaction_count: 0,
  session_length_ms: expect.any(Number),
  cost_estimate_usd: expect.any(Number),
  predicted_startup_ms: expect.any(Number),
  engagement_score: 0,
  engagement_label: "warming",
};

describe("the seed's examples", () => {
  test("Option B: enabling a provider, and verifying", async () => {
    const enabled = await ask(
      "POST",
      "/v2/account/providers",
      `{"provider": "vercel", "credentials": {"vercel_token": "${VERCEL_TOKEN}"}}`,
    );
    expect(enabled.status).toBe(201);
    await ask(
      "POST",
      "/v2/account/providers",
      `{"provider": "e2b", "credentials": {"e2b_api_key": "${E2B_KEY}"}}`,
    );
    // "should list at least one compute"
    const { computes } = (await ask("GET", "/v2/computes")).body;
    expect(computes.map(({ compute_id }: { compute_id: string }) => compute_id)).toContain("provider_vercel");
  });

  test("ask what compute is available", async () => {
    const { status, body } = await ask("GET", "/gateway/providers");
    expect(status).toBe(200);
    const executable = body.providers.filter(({ executable }: { executable: boolean }) => executable);
    expect(executable.map(({ provider }: { provider: string }) => provider).sort()).toEqual([
      "e2b",
      "p69",
      "vercel",
    ]);
    for (const one of body.providers)
      expect(one).toMatchObject({ label: expect.any(String), reason: expect.any(String) });
  });

  test("create, run, stream and read metrics of a pinned session", async () => {
    const created = await ask(
      "POST",
      "/gateway/sessions",
      `{
"task": "Run a quick shell command",
"workload": "general",
"requirements": {
"runtime": "shell",
"timeout_minutes": 5
},
"policy": {
"mode": "pinned",
"pinned_provider": "vercel",
"allowed_providers": ["vercel"]
}
}`,
    );
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ status: "ready", provider: "vercel" });
    const id = created.body.session_id;

    const ran = await ask(
      "POST",
      `/gateway/sessions/${id}/run`,
      `{
"code": "echo hello from cerver && node -v",
"timeout": 30
}`,
    );
    expect(ran.body.result).toMatchObject({ exit_code: 0, stderr: "" });
    expect(ran.body.result.stdout).toMatch(/^hello from cerver\nv\d+\.\d+\.\d+\n$/);

    const stream = await cerver.call("POST", `/gateway/sessions/${id}/run/stream`, { code: "echo streamed" });
    expect(stream.headers.get("x-cerver-session-id")).toBe(id);
    expect(stream.headers.get("x-cerver-provider")).toBe("vercel");
    expect(Number(stream.headers.get("x-cerver-stream-latency-ms"))).toBeGreaterThan(0);
    await stream.text();

    const { body: metrics } = await ask("GET", `/gateway/sessions/${id}/metrics`);
    expect(Object.keys(metrics)).toEqual(expect.arrayContaining([...Object.keys(METRICS), "uptime_percent"]));
    expect(metrics).toMatchObject({
      total_exec_count: 1,
      total_stream_count: 1,
      engagement_label: "warming",
    });
    for (const name of ["time_to_first_exec_ms", "last_exec_latency_ms", "average_stream_open_latency_ms"])
      expect(metrics[name]).toBeGreaterThan(0);
    expect((await ask("DELETE", `/gateway/sessions/${id}`)).body.status).toBe("ended");
  });

  test("create a session for a preview, and its answer field by field", async () => {
    const { status, body } = await ask(
      "POST",
      "/v2/sessions",
      `{
"task": "Boot a preview environment for a Next.js repo",
"workload": "preview",
"repo": {
"name": "branch-monkey",
"framework": "nextjs",
"languages": ["typescript"],
"signals": ["needs-preview", "short-lived"]
},
"requirements": {
"runtime": "node",
"package_install": true,
"public_preview": true,
"persistence_level": "medium",
"timeout_minutes": 20
},
"policy": {
"mode": "balanced",
"allowed_providers": ["vercel", "e2b"],
"max_startup_ms": 2000
},
"session_name": "preview-session"
}`,
    );
    expect(status).toBe(201);
    expect(body).toMatchObject({
      session_id: expect.stringMatching(/^sess_/),
      session_name: "preview-session",
      status: "ready",
      provider: expect.stringMatching(/^(?:vercel|e2b)$/),
      compute_id: `provider_${body.provider}`,
      sandbox_id: expect.any(String),
      metrics: METRICS,
      routing: {
        recommended_provider: body.provider,
        confidence: expect.stringMatching(/^(?:high|medium|low)$/),
        primary_reason: expect.any(String),
        secondary_reasons: expect.arrayContaining(["Startup within target", "Public preview supported"]),
        fallback_order: [body.provider === "vercel" ? "e2b" : "vercel"],
        canary_run: false,
      },
    });
    // The vendors' servers have their own measure of uptime, or none.
    expect(body.metrics).toHaveProperty("uptime_percent");
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
  });

  test("a session on one compute by its id", async () => {
    const { body } = await ask("POST", "/v2/sessions", `{"target_compute_id": "provider_vercel"}`);
    expect(body.provider).toBe("vercel");
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
  });

  test("sessions are transcripts: list them, read one", async () => {
    const id = await cerver.session();
    await ask("POST", `/v2/sessions/${id}/run`, `{"code": "echo remembered"}`);
    const { body: list } = await ask("GET", "/v2/sessions?limit=20");
    expect(list.sessions[0]).toMatchObject({ sessionId: id });
    const { body } = await ask("GET", `/v2/sessions/${id}`);
    expect(JSON.stringify(body.transcript)).toContain("remembered");
  });

  test("a stress test", async () => {
    const { status, body } = await ask(
      "POST",
      "/gateway/stress-tests",
      `{
"task": "Compare preview launch backends",
"kind": "preview_launch",
"workload": "preview",
"requirements": {
"runtime": "node",
"public_preview": true,
"package_install": true,
"timeout_minutes": 20
},
"providers": ["vercel", "e2b"],
"sample_size": 5
}`,
    );
    expect(status).toBe(200);
    expect(body).toMatchObject({ mode: "simulated", status: "done", kind: "preview_launch" });
    expect(body.ranking).toHaveLength(2);
  });

  test("a new account has no compute, and hears what to do", async () => {
    const empty = await startCerver({ relay: false });
    try {
      const response = await empty.call("POST", "/v2/sessions", { task: "anything" });
      expect(response.status).toBe(409);
      expect(await response.json()).toMatchObject({
        code: "no_compute",
        report: {
          recommended_provider: expect.any(String),
          next_steps: expect.arrayContaining([expect.any(String)]),
        },
      });
    } finally {
      await empty.stop();
    }
  });
});
