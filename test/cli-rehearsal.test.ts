import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openListening } from "./compute.js";
import { type Home, newHome } from "./run-cerver.js";

let home: Home;
let compute: Awaited<ReturnType<typeof openListening>>;
let env: Record<string, string>;
beforeAll(async () => {
  home = await newHome();
  compute = await openListening(home.folder);
  env = {
    P69_BASE_URL: compute.url,
    P69_API_TOKEN: compute.token!,
    OTHER_SECRET: "hello",
    PIN_TOKEN: "abc",
  };
});
afterAll(async () => {
  await compute.close();
  await home.remove();
});

describe("cerver provider record and rehearse", () => {
  test("records a real provider, says what it kept out, and draws what is on it", {
    timeout: 90_000,
  }, async () => {
    const file = join(home.folder, "tape.jsonl");
    const record = await home.run(["provider", "record", "p69", "--out", file, "--runs", "3"], { env });
    expect([record.code, record.stderr]).toEqual([0, ""]);
    expect(record.stdout).toMatch(/^p69, recorded .*: 6\d calls, 3 sandboxes$/m);
    expect(record.stdout).toMatch(/^create +3 +[\d.]+ m?s/m);
    expect(record.stdout).toMatch(/^first byte of a stream +\d/m);
    expect(record.stdout).toMatch(/^readFile +6 +3 +file_not_found 3$/m);
    expect(record.stdout).toMatch(
      /Looked for 3 credentials and secret variables: [1-9]\d* occurrences became \*\./,
    );
    expect(record.stdout).toContain("Too short to be looked for: PIN_TOKEN.");
    expect(record.stdout).toContain("Every sandbox it made is deleted.");
    const text = await readFile(file, "utf8");
    expect(text).not.toContain(env.P69_API_TOKEN);
    // The tour says hello, which a variable that looks secret holds.
    expect(text).not.toContain("hello");
    expect((await stat(file)).mode & 0o777).toBe(0o600);

    const again = await home.run(["provider", "record", "p69", "--out", file], { env });
    expect(again).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/is there already\.\nhint: .*--out/),
    });
    expect(await readFile(file, "utf8")).toBe(text);

    const drawn = await home.run(["provider", "rehearse", file]);
    expect([drawn.code, drawn.stderr]).toEqual([0, ""]);
    expect(drawn.stdout).toMatch(/^ {2}sleep 0\.2; echo slept +3 +2\d\d/m);
    expect(drawn.stdout).toContain(`CERVER_REHEARSAL=${file}`);
    const { stdout } = await home.run(["provider", "rehearse", file, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      provider: "p69",
      sandboxes: 3,
      lost_answers: 0,
      times: { create: { n: 3, p50_ms: expect.any(Number), p99_ms: expect.any(Number) } },
    });
  });

  test("the cassette is a provider of a gateway, without credentials", { timeout: 60_000 }, async () => {
    const file = join(import.meta.dirname, "fixtures/cassettes/outage.jsonl");
    const gateway = home.start(["gateway", "--no-auth", "--port", "0"], {
      CERVER_REHEARSAL: `${file}?seed=1`,
    });
    try {
      const [url] = await gateway.prints(/http:\/\/127\.0\.0\.1:\d+/);
      const response = await fetch(`${url}/v2/sessions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{}",
      });
      expect(await response.json()).toMatchObject({ provider: "rehearsal" });
    } finally {
      gateway.child.kill("SIGINT");
      await gateway.exited;
    }
  });

  test("says why it cannot, and leaves no file", async () => {
    const file = join(home.folder, "none.jsonl");
    const unset = await home.run(["provider", "record", "e2b", "--out", file]);
    expect(unset).toMatchObject({ code: 1, stderr: expect.stringContaining("E2B_API_KEY is not set") });
    const refused = await home.run(["provider", "record", "p69", "--out", file, "--runs", "1"], {
      env: { ...env, P69_API_TOKEN: "wrong-token" },
    });
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("refused this gateway's token"),
    });
    await expect(stat(file)).rejects.toThrow("ENOENT");
    const missing = await home.run(["provider", "rehearse", file]);
    expect(missing.stderr).toMatch(/cannot be read: ENOENT\.\nhint: Record one/);
    expect((await home.run(["provider", "record", "p69"])).code).toBe(2);
  });

  test("an interrupted recording keeps what it has, and deletes its sandbox", {
    timeout: 60_000,
  }, async () => {
    const file = join(home.folder, "cut.jsonl");
    const started = home.start(["provider", "record", "p69", "--out", file, "--runs", "500", "--json"], env);
    await expect
      .poll(async () => (await readFile(file, "utf8").catch(() => "")).split("\n").length, {
        timeout: 20_000,
      })
      .toBeGreaterThan(8);
    started.child.kill("SIGINT");
    expect(await started.exited).toMatchObject({ code: 130 });
    const said = JSON.parse(started.stdout());
    expect(said).toMatchObject({ interrupted: true, left_behind: [] });
    const response = await fetch(`${compute.url}/api/cerver/provider`, {
      headers: { authorization: `Bearer ${compute.token}` },
    });
    expect(((await response.json()) as { sandboxes: number }).sandboxes).toBe(0);
  });
});
