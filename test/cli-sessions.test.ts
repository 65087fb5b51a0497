import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { type Cerver, startCerver } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";
import { type E2bServer, startE2bServer } from "./vendors/e2b-server.js";

const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

let home: Home;
let e2b: E2bServer;
let cerver: Cerver;
beforeAll(async () => {
  home = await newHome();
  e2b = await startE2bServer({ apiKey: E2B_KEY });
  cerver = await startCerver({
    deps: { adapters: [e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl })] },
  });
});
afterAll(async () => {
  await home.remove();
  await cerver.stop();
  await e2b.close();
});

const cli = (args: string[], env: Record<string, string> = {}) =>
  home.run(args, { env: { CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token, ...env } });

describe("cerver provider", () => {
  test("enables with what the environment holds, says the vendor's refusal, and forgets", async () => {
    const none = await cli(["provider", "enable", "e2b"]);
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining("E2B_API_KEY") });
    const wrong = await cli(["provider", "enable", "e2b"], { E2B_API_KEY: "e2b_wrong0123456789" });
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("refused the credentials") });
    expect(wrong.stderr).not.toContain("e2b_wrong0123456789");

    const enabled = await cli(["provider", "enable", "e2b"], { E2B_API_KEY: E2B_KEY });
    expect(enabled).toMatchObject({ code: 0, stdout: expect.stringContaining("provider_e2b") });
    expect((await cli(["provider", "ls"])).stdout).toMatch(/^e2b +E2B +yes/m);
    expect(JSON.parse((await cli(["provider", "ls", "--json"])).stdout).providers).toHaveLength(9);
    expect((await cli(["provider", "enable", "daytona"])).stderr).toContain("takes credentials");
  });
});

describe("cerver route", () => {
  test("explains a create and a session, and replays", async () => {
    const now = await cli(["route", "explain", "--policy", "fastest", "--runtime", "shell"]);
    expect(now.code).toBe(0);
    expect(now.stdout).toMatch(
      /policy fastest[\s\S]*CANDIDATE +SCORE[\s\S]*E2B \(provider_e2b\)[\s\S]*REFUSED/,
    );
    const id = await cerver.session({ policy: { mode: "cheapest" } });
    expect((await cli(["route", "explain", id.slice(0, 20)])).stdout).toContain("policy cheapest");
    expect(JSON.parse((await cli(["route", "explain", id, "--json"])).stdout).decision.chosen).toMatch(/^c/);
    expect((await cli(["route", "replay", "--policy", "fastest", "--since", "1h"])).stdout).toMatch(
      /1 decisions/,
    );
    expect((await cli(["route", "replay", "--policy", "pinned"])).code).toBe(2);
  });
});

describe("a session by hand", () => {
  test("pause, why, resume, move", async () => {
    const id = await cerver.session();
    await cerver.client.run(id, { code: "echo kept > file" });
    expect((await cli(["why", id])).stdout).toMatch(/Nothing runs;[\s\S]*ACTIVITY[\s\S]*run/);
    expect(await cli(["pause", id])).toMatchObject({ code: 0, stdout: expect.stringContaining("rests") });
    const refused = await cli(["run", "--session", id, "true"]);
    expect(refused).toMatchObject({ code: 125, stderr: expect.stringContaining(`cerver resume ${id}`) });
    expect((await cli(["resume", id])).code).toBe(0);
    expect((await cli(["run", "--session", id, "cat file"])).stdout).toBe("kept\n");

    const moved = await cli(["move", id, "--to", "e2b"]);
    expect(moved).toMatchObject({ code: 0, stderr: expect.stringContaining("stayed behind") });
    expect((await cli(["run", "--session", id, "echo cloud"])).stdout).toBe("cloud\n");
    expect((await cli(["move", id, "--to", "nowhere"])).code).toBe(1);
    await cerver.client.closeSession(id);
    expect(e2b.sandboxes).toEqual([]);
  });

  test("limits can be set, and taken off again", async () => {
    expect((await cli(["limits", "--max-sessions", "5", "--spend-per-month", "2.5"])).stdout).toMatch(
      /of \$2\.5\.[\s\S]*of 5\./,
    );
    expect((await cli(["limits", "--max-sessions", "none", "--spend-per-month", "none"])).stdout).toMatch(
      /any amount[\s\S]*any number/,
    );
    expect((await cli(["limits", "--max-sessions", "many"])).code).toBe(2);
  });
});

describe("cerver stress-test", () => {
  test("draws a simulation, the same for a seed", async () => {
    const drawn = () => cli(["stress-test", "--seed", "5", "--provider", "e2b", "--provider", "vercel"]);
    const [one, two] = [await drawn(), await drawn()];
    expect(one.code).toBe(0);
    expect(one.stdout).toMatch(/RANK +PROVIDER +SCORE[\s\S]*●[\s\S]*Simulated: 5 draws/);
    expect(two.stdout).toBe(one.stdout);
  });

  test("runs live, and says that nothing is left", async () => {
    const { code, stdout } = await cli([
      "stress-test",
      "--live",
      "--provider",
      "p69",
      "--provider",
      "e2b",
      "-n",
      "2",
    ]);
    expect(stdout).toMatch(/12 sandboxes were made and 12 are shown to be gone/);
    expect(code).toBe(0);
    expect(e2b.sandboxes).toEqual([]);
  });

  test("begins nothing that could cost more than the cap", async () => {
    const { stdout } = await cli([
      "stress-test",
      "--live",
      "--provider",
      "e2b",
      "-n",
      "2",
      "--max-cost",
      "0.000001",
    ]);
    expect(stdout).toContain("could cost more than what is left");
    expect(stdout).toContain("0 sandboxes were made");
  });
});
