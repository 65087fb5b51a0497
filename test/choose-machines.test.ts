import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { ApiTokens } from "../src/gateway/account/api-tokens.js";
import { openDatabase } from "../src/gateway/store/database.js";
import type { CerverError } from "../src/protocol/errors.js";
import { relayConfig } from "../src/relay/config.js";
import { type Cerver, startCerver } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";

/** What a refused promise says. */
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: CerverError) => ({ code: error.code, message: error.message, details: error.details }),
  );

describe("several machines of one account", () => {
  let cerver: Cerver;
  let home: Home;
  beforeAll(async () => {
    cerver = await startCerver({ relay: { name: "plain-box" } });
    await cerver.attachRelay({ name: "gpu-box", labels: { gpu: "yes", disk: "fast" } });
    home = await newHome();
  });
  afterAll(async () => {
    await home.remove();
    await cerver.stop();
  });

  const cli = (...args: string[]) =>
    home.run(args, { env: { CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token } });
  const computeOf = async (name: string) =>
    (await cerver.client.computes()).find(({ label }) => label === name)!.compute_id;

  test("are told apart by their labels, which lists show", async () => {
    const { stdout } = await cli("computes");
    expect(stdout).toMatch(/^ID +NAME +PROVIDER +STATUS +LAST REPORT +LABELS$/m);
    expect(stdout).toMatch(/^\S+ +gpu-box +.* {2}disk=fast, gpu=yes$/m);
    expect(stdout).toMatch(/^\S+ +plain-box +.*ago +$/m);
  });

  test("a session goes where its labels are, and says why when they are nowhere", async () => {
    const { compute_id, routing } = await cerver.client.createSession({
      requirements: { labels: { gpu: "yes", disk: "fast" } },
    });
    expect(compute_id).toBe(await computeOf("gpu-box"));
    expect(routing.primary_reason).toBeTruthy();
    const refused = await refusal(cerver.client.createSession({ requirements: { labels: { gpu: "no" } } }));
    expect(refused).toMatchObject({ code: "no_compute" });
    expect(JSON.stringify(refused)).toContain("It has no label gpu=no");
  });

  test("`cerver run --on` takes a label, a name, a part of it or an id", async () => {
    const where = "echo at $CERVER_SANDBOX_ID";
    expect(await cli("run", "--on", "gpu=yes", "--on", "disk=fast", where)).toMatchObject({ code: 0 });
    const names = ["gpu-box", "GPU", await computeOf("gpu-box")];
    const runs = await Promise.all(names.map((on) => cli("run", "--on", on, "--json", "true")));
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0]);
    const gpu = await computeOf("gpu-box");
    const { sessions } = await cerver.client.sessions({ limit: 4 });
    expect(sessions.map(({ computeId }) => computeId)).toEqual([gpu, gpu, gpu, gpu]);
    const both = await cli("run", "--on", "box", "true");
    expect(both).toMatchObject({ code: 125 });
    expect(both.stderr).toMatch(/^error: 2 computes are called like "box"\.\nhint: Give the id of one: cmp_/);
    expect((await cli("run", "--on", "nobody", "true")).stderr).toContain(
      'No compute of this account is called "nobody"',
    );
    expect((await cli("run", "--on", "gpu=no", "true")).stderr).toMatch(
      /^error: No compute of this account carries gpu=no\.\nhint: /,
    );
    expect((await cli("run", "--on", "gpu=yes", "--session", "sess_1", "true")).stderr).toContain(
      "--on chooses for a new session",
    );
    const explained = await cli("route", "explain", "--label", "gpu=yes");
    expect(explained.stdout).toMatch(/^plain-box +It has no label gpu=yes$/m);
  });

  test("labels come from the environment as well, and what is none is refused", () => {
    const given = { gatewayUrl: "http://127.0.0.1:1" };
    expect(relayConfig(given, { CERVER_LABELS: "gpu=yes, disk=" }).labels).toEqual({ gpu: "yes", disk: "" });
    expect(relayConfig({ ...given, labels: { a: "b" } }, { CERVER_LABELS: "gpu=yes" }).labels).toEqual({
      a: "b",
    });
    expect(() => relayConfig(given, { CERVER_LABELS: "gpu" })).toThrow('CERVER_LABELS: "gpu" is no label.');
    expect(() => relayConfig({ ...given, labels: { "a b": "c" } }, {})).toThrow(/^labels\.a b: /);
  });
});

describe("a machine that was installed anew", () => {
  let cerver: Cerver;
  beforeAll(async () => {
    cerver = await startCerver({ relay: false });
  });
  afterAll(() => cerver.stop());

  const relay = (name: string, machine: string, configDir: string) =>
    cerver.attachRelay({ name, machine, configDir: join(cerver.folder, configDir) });
  const lose = (configDir: string) => rm(join(cerver.folder, configDir), { recursive: true });

  test("is the compute it was: with its settings, and by its machine id without them", async () => {
    const first = await relay("kept", "machine-one", "one");
    await first.stop();
    const again = await relay("kept", "machine-one", "one");
    expect(again.computeId).toBe(first.computeId);
    await again.stop();
    await lose("one");
    const anew = await relay("renamed", "machine-one", "one");
    expect(anew.computeId).toBe(first.computeId);
    expect(await cerver.client.compute(first.computeId)).toMatchObject({ label: "renamed", status: "ready" });
    await anew.stop();
  });

  test("a copy of it does not take over the one that runs: it is a compute of its own", async () => {
    const original = await relay("original", "machine-two", "two");
    await lose("two");
    const copy = await cerver.attachRelay({
      name: "copy",
      machine: "machine-two",
      configDir: join(cerver.folder, "two"),
    });
    expect(copy.computeId).not.toBe(original.computeId);
    expect((await cerver.client.compute(original.computeId)).status).toBe("ready");
    await Promise.all([original.stop(), copy.stop()]);
  });

  test("two copies that start together get two computes", async () => {
    const original = await relay("fleet", "machine-three", "three");
    await original.stop();
    const register = (name: string) =>
      cerver.client.registerCompute({
        label: name,
        kind: "local",
        provider: "cerver_local_provider",
        capabilities: {},
        metadata: { machine_id: machineId },
        connection: { transport: "cerver_connect" },
      });
    const { metadata } = await cerver.client.compute(original.computeId);
    const machineId = metadata!.machine_id as string;
    expect(machineId).toMatch(/^[0-9a-f]{32}$/);
    expect((await register("one")).compute_id).toBe(original.computeId);
    expect((await register("two")).compute_id).not.toBe(original.computeId);
  });

  test("is another compute for another account, whatever is known of it", async () => {
    const here = await relay("mine", "machine-four", "four");
    await here.stop();
    const { metadata } = await cerver.client.compute(here.computeId);
    const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
    await db.insertInto("accounts").values({ id: "acct_other", name: "other", created_at: 0 }).execute();
    const { key } = await new ApiTokens({ db }).create("acct_other", { label: "", scopes: ["relay"] });
    await db.destroy();
    const other = new GatewayClient({ gatewayUrl: cerver.gateway.url, token: key });
    const { compute_id } = await other.registerCompute({
      label: "theirs",
      kind: "local",
      provider: "cerver_local_provider",
      capabilities: {},
      metadata: { machine_id: metadata!.machine_id },
      connection: { transport: "cerver_connect" },
    });
    expect(compute_id).not.toBe(here.computeId);
    // A relay sees its own compute, and no other.
    expect((await other.compute(compute_id)).status).toBe("offline");
    expect(await refusal(other.compute(here.computeId))).toMatchObject({ code: "forbidden" });
  });
});
