import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayClient, type SessionNews, type StressEvent } from "../src/client/index.js";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(() => cerver.stop());

/** Reads until an item is found, then leaves. */
async function until<T>(items: AsyncIterable<T>, found: (item: T) => boolean): Promise<T[]> {
  const read: T[] = [];
  for await (const item of items) {
    read.push(item);
    if (found(item)) break;
  }
  return read;
}

describe("the client", () => {
  test("finds sessions by labels and metadata", async () => {
    const { client } = cerver;
    const one = await client.createSession({ labels: { a: "1", b: "x=y" }, metadata: { team: "blue" } });
    await client.createSession({ labels: { a: "1" } });
    const ids = async (query: object) =>
      (await client.sessions(query)).sessions.map(({ sessionId }) => sessionId);
    expect(await ids({ labels: { a: "1", b: "x=y" } })).toEqual([one.session_id]);
    expect(await ids({ metadata: { team: "blue" } })).toEqual([one.session_id]);
    expect(await ids({ labels: { a: "1" }, limit: 10 })).toHaveLength(2);
    expect(await client.patchSession(one.session_id, { team: "red" }, { a: "2" })).toMatchObject({
      metadata: { team: "red" },
      labels: { a: "2", b: "x=y" },
    });
  });

  test("creates once with a key", async () => {
    const [one, two] = await Promise.all(
      [1, 2].map(() => cerver.client.createSession({ task: "once" }, undefined, "k")),
    );
    expect(one!.session_id).toBe(two!.session_id);
  });

  test("tells a session's news while it happens, and leaves when the signal says so", async () => {
    const { client } = cerver;
    const id = await cerver.session();
    const leaving = new AbortController();
    const news: SessionNews[] = [];
    const reading = (async () => {
      for await (const one of client.sessionEvents(id, leaving.signal)) {
        news.push(one);
        if (one.type === "transcript") leaving.abort();
      }
    })();
    const account = until(client.events(), (one) => one.type === "run" && one.status === "succeeded");
    await new Promise((resolve) => setTimeout(resolve, 200));
    await client.run(id, { code: "echo hi" });
    await expect(reading).rejects.toThrow(/abort/i);
    expect(news.map(({ type }) => type)).toContain("run");
    expect(await account).not.toEqual([]);
  });

  test("rests, wakes and moves a session, and says what it has cost and why it is awake", async () => {
    const { client } = cerver;
    const { session_id: id, compute_id } = await client.createSession({});
    expect(await client.pauseSession(id)).toMatchObject({ paused: true });
    expect((await client.whyAwake(id)).state).toBe("paused");
    expect(await client.resumeSession(id)).toMatchObject({ paused: false, compute_id });
    expect(await client.changeCompute(id, { compute: null })).toMatchObject({ compute_id: null });
    expect(await client.changeCompute(id, { compute: { compute_id: compute_id! } })).toMatchObject({
      compute_id,
    });
    expect((await client.sessionRouting(id)).decision?.chosen).toBe(compute_id);
    expect((await client.sessionCost(id)).cost_usd).toBe(0);
    expect((await client.spawnSession(id, { task: "child" })).session_id).not.toBe(id);
    expect(await client.setStatus(id, { status: "idle" })).toMatchObject({ success: true });
    await client.sendInput(id, "hello", "once");
    expect((await client.sendInput(id, "hello", "once")).appended).toBe(0);
    expect((await client.transcript(id, { tail: 1 })).transcript[0]).toMatchObject({ content: "hello" });
    expect((await client.purgeSession(id)).status).toBe("purged");
    await expect(client.session(id)).rejects.toMatchObject({ code: "session_not_found" });
  });

  test("knows the account: providers, limits, orphans, routing", async () => {
    const { client } = cerver;
    expect(await client.enabledProviders()).toEqual([]);
    await expect(
      client.enableProvider({ provider: "nobody", credentials: { key: "x" } }),
    ).rejects.toMatchObject({
      code: "invalid_request",
    });
    await expect(client.disableProvider("e2b")).rejects.toMatchObject({ code: "not_found" });
    expect(await client.setLimits({ max_sessions: 40 })).toMatchObject({ max_sessions: 40 });
    expect((await client.limits()).max_sessions).toBe(40);
    await client.setLimits({ max_sessions: null });
    expect(await client.orphans()).toEqual([]);
    expect((await client.explainRouting({ task: "x" })).chosen).toMatch(/^cmp_/);
    expect((await client.replayRouting("cheapest", "1h")).mode).toBe("cheapest");
  });

  test("begins a live stress test and follows it to its report", async () => {
    const { client } = cerver;
    const begun = await client.beginStressTest({
      mode: "live",
      providers: ["p69"],
      sample_size: 1,
      patterns: ["sequential"],
    });
    const events: StressEvent[] = await until(client.followStressTest(begun.stress_test_id), () => false);
    expect(events.at(-1)).toMatchObject({ type: "report", report: { status: "done" } });
    expect((await client.stressTest(begun.stress_test_id)).status).toBe("done");
    expect((await client.stressTests())[0]?.stress_test_id).toBe(begun.stress_test_id);
    expect((await client.cancelStressTest(begun.stress_test_id)).status).toBe("done");
  });

  test("uses a sandbox without a session", async () => {
    const { client } = cerver;
    const { sandbox_id: id } = await client.createSandbox({ provider: "local" });
    expect(await client.runInSandbox(id, { code: "echo hi; exit 3" })).toMatchObject({
      stdout: "hi\n",
      exit_code: 3,
    });
    const events = await until(client.runStreamInSandbox(id, { code: "echo hi" }), () => false);
    expect(events.at(-1)).toMatchObject({ type: "exit", exit_code: 0 });
    await client.writeFile(id, { path: "a/b", content: "aGk=", encoding: "base64" });
    expect((await client.readFile(id, "a/b")).content).toBe("hi");
    await client.setSandboxState(id, { step: 1 });
    expect(await client.sandboxState(id)).toEqual({ step: 1 });
    await expect(client.installInSandbox(id, { package: "../x" })).rejects.toMatchObject({
      code: "invalid_request",
    });
    expect((await client.deleteSandbox(id)).status).toBe("terminated");
  });

  test("says so when a stream of news breaks, and skips what has no name yet", async () => {
    const server = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write('data: {"type":"from the future"}\n\ndata: {"type":"missed","count":3}\n\n');
      setTimeout(() => response.destroy(), 50);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const read: SessionNews[] = [];
    const reading = (async () => {
      for await (const one of new GatewayClient({ gatewayUrl: `http://127.0.0.1:${port}` }).events())
        read.push(one);
    })();
    await expect(reading).rejects.toMatchObject({
      code: "gateway_unreachable",
      hint: expect.stringContaining("record"),
    });
    expect(read).toEqual([{ type: "missed", count: 3 }]);
    await new Promise((resolve) => server.close(resolve));
  });
});
