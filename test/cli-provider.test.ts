import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONFORMANCE_CHECKS, type Scorecard } from "../src/gateway/compute/conformance.js";
import { type Home, newHome, type Started } from "./run-cerver.js";

let home: Home;
let relay: Started;
let env: Record<string, string>;
beforeAll(async () => {
  home = await newHome();
  relay = home.start(["relay", "--listen", "0"]);
  const [, url] = await relay.prints(/Listening: (\S+)/);
  const [, file] = await relay.prints(/Token: kept in (.+), as/);
  env = { P69_BASE_URL: url!, P69_API_TOKEN: (await readFile(file!, "utf8")).trim() };
});
afterAll(async () => {
  relay.child.kill("SIGINT");
  await relay.exited;
  await home.remove();
});

const sandboxes = async () => {
  const response = await fetch(`${env.P69_BASE_URL}/api/cerver/provider`, {
    headers: { authorization: `Bearer ${env.P69_API_TOKEN}` },
  });
  return ((await response.json()) as { sandboxes: number }).sandboxes;
};

describe("cerver provider test", () => {
  test("draws a scorecard, and exits with 0 when everything passed", async () => {
    const args = [
      "provider",
      "test",
      "p69",
      "--only",
      "exit-code",
      "--only",
      "files",
      "--only",
      "cloud-find",
    ];
    const { code, stdout, stderr } = await home.run(args, { env });
    expect(stdout).toMatch(/^✓ exit-code +\d+ ms {2}Another exit code/m);
    expect(stdout).toMatch(/^✓ files-leaving +\d+ ms {2}/m);
    expect(stdout).toMatch(/^- cloud-find +\d+ ms {2}skipped: It is no cloud vendor's\./m);
    expect(stdout).toMatch(/^p69: 8 passed, 0 failed, 1 skipped, in \d/m);
    expect(stdout).toContain("Every sandbox it made is deleted.");
    expect([code, stderr]).toEqual([0, ""]);
    expect(await sandboxes()).toBe(0);
  });

  test("prints JSON, and only that", async () => {
    const { code, stdout } = await home.run(["provider", "test", "p69", "--only", "delete-twice", "--json"], {
      env,
    });
    const card = JSON.parse(stdout) as Scorecard;
    expect(card).toMatchObject({ provider: "p69", passed: 1, failed: 0, skipped: 0, left_behind: [] });
    expect(card.results).toMatchObject([{ name: "delete-twice", outcome: "passed", ms: expect.any(Number) }]);
    expect(code).toBe(0);
    expect(stdout).not.toContain(env.P69_API_TOKEN);
  });

  test("is not passed when everything was skipped", async () => {
    const { code } = await home.run(["provider", "test", "p69", "--only", "cloud"], { env });
    expect(code).toBe(1);
  });

  test("deletes what it made when it is interrupted", async () => {
    const started = home.start(["provider", "test", "p69", "--only", "timeout", "--only", "exit-zero"], env);
    await started.prints(/✓ exit-zero/);
    await expect.poll(sandboxes).toBeGreaterThan(0);
    started.child.kill("SIGINT");
    expect(await started.exited).toMatchObject({ code: 130 });
    expect(started.stdout()).toContain("It was interrupted.");
    expect(started.stdout()).toMatch(/1 passed, 1 failed, 0 skipped, in .*, interrupted/);
    expect(await sandboxes()).toBe(0);
  });

  test("says what is missing, wrong or out of reach before it tries anything", async () => {
    const nothing = await home.run(["provider", "test", "p69"]);
    expect(nothing.code).toBe(1);
    expect(nothing.stderr).toMatch(
      /error: p69: P69_BASE_URL is not set\.\nhint: .*P69_API_TOKEN \(if need be\)/,
    );
    const unknown = await home.run(["provider", "test", "toaster"], { env });
    expect(unknown.stderr).toMatch(/error: There is no adapter called “toaster”\.\nhint: There are: p69/);
    const check = await home.run(["provider", "test", "p69", "--only", "nonsense"], { env });
    expect(check.stderr).toContain(CONFORMANCE_CHECKS[0]!.name);
    const refused = await home.run(["provider", "test", "p69"], { env: { ...env, P69_API_TOKEN: "wrong" } });
    expect(refused).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("refused this gateway's token"),
    });
    const away = await home.run(["provider", "test", "p69"], { env: { P69_BASE_URL: "http://127.0.0.1:1" } });
    expect(away).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("cannot be reached") });
  });

  test("is in the help", async () => {
    expect((await home.run(["provider", "test", "--help"])).stdout).toContain("cerver provider test p69");
    expect((await home.run(["provider", "test"])).code).toBe(2);
  });
});
