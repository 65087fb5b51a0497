import { describe, expect, test } from "vitest";
import type { Compute } from "../../protocol/computes.js";
import { CATALOG } from "../compute/catalog.js";
import { type RouterInput, route } from "./router.js";

const compute = (id: string, more: Partial<Compute> = {}): Compute => ({
  compute_id: id,
  label: `host ${id}`,
  provider: "p69",
  kind: "local",
  scope: "private",
  status: "ready",
  capabilities: { runtimes: ["shell", "node"] },
  ...more,
});
const providers = CATALOG.map((profile) => ({ ...profile, runnable: profile.provider === "p69" }));
const decide = (request: RouterInput["request"], computes: Compute[], measured: [string, number][] = []) =>
  route({ request, computes, providers, measuredStartupMs: new Map(measured) });

describe("route", () => {
  test("takes the only ready compute and says so", () => {
    const result = decide({}, [compute("cmp_a"), compute("cmp_b", { status: "offline" })]);
    expect(result).toMatchObject({
      chosen: { compute_id: "cmp_a" },
      routing: {
        recommended_provider: "p69",
        confidence: "high",
        primary_reason: "host cmp_a is the only ready compute",
        canary_run: false,
      },
    });
  });

  test("of several, takes the one whose sessions started fastest so far", () => {
    const result = decide(
      {},
      [compute("cmp_a"), compute("cmp_b")],
      [
        ["cmp_a", 900],
        ["cmp_b", 40],
      ],
    );
    expect(result).toMatchObject({ chosen: { compute_id: "cmp_b" }, predictedStartupMs: 40 });
  });

  test.each([
    ["its id", { target_compute_id: "cmp_b" }],
    ["its id, in the newer words", { compute: { compute_id: "cmp_b" } }],
  ])("takes the compute that is asked for by %s", (_, request) => {
    expect(decide(request, [compute("cmp_a"), compute("cmp_b")])).toMatchObject({
      chosen: { compute_id: "cmp_b" },
    });
  });

  test.each(["p69", "cerver_local_provider", "cerver_local", "local"])(
    "knows %s as a local machine",
    (name) => {
      const request = { policy: { mode: "pinned" as const, pinned_provider: name } };
      expect(decide(request, [compute("cmp_a")])).toMatchObject({ chosen: { compute_id: "cmp_a" } });
      expect(decide({ target_compute_id: `provider_${name}` }, [compute("cmp_a")])).toMatchObject({
        chosen: { compute_id: "cmp_a" },
      });
    },
  );

  test.each<[string, RouterInput["request"], Compute[], string]>([
    ["nothing is attached", {}, [], "No compute is attached to this account."],
    [
      "all are offline",
      {},
      [compute("cmp_a", { status: "offline" })],
      "Every compute of this account is offline.",
    ],
    [
      "the one asked for is offline",
      { target_compute_id: "cmp_a" },
      [compute("cmp_a", { status: "offline" }), compute("cmp_b")],
      "The compute host cmp_a (cmp_a) is offline.",
    ],
    [
      "the one asked for does not exist",
      { target_compute_id: "cmp_zzz" },
      [compute("cmp_a")],
      "This account has no compute cmp_zzz.",
    ],
    [
      "the pinned provider is not enabled",
      { policy: { mode: "pinned", pinned_provider: "vercel" } },
      [compute("cmp_a")],
      "Vercel Sandbox cannot be used by this account yet.",
    ],
    [
      "no compute has the runtime",
      { requirements: { runtime: "haskell" } },
      [compute("cmp_a")],
      "No ready compute satisfies the requirements and the policy.",
    ],
    [
      "startup takes longer than wanted",
      { policy: { max_startup_ms: 100 } },
      [compute("cmp_a")],
      "No ready compute satisfies the requirements and the policy.",
    ],
  ])("refuses with a reason when %s", (_, request, computes, why) => {
    const result = decide(request, computes, [["cmp_a", 500]]);
    expect(result).toMatchObject({ chosen: undefined, why });
    expect(result.candidates.every((candidate) => candidate.reasons.length > 0)).toBe(true);
  });

  test.each<[string, RouterInput["request"]]>([
    ["target_compute_id", { target_compute_id: "provider_acme" }],
    ["compute.provider", { compute: { provider: "acme" } }],
    ["policy.pinned_provider", { policy: { mode: "pinned", pinned_provider: "acme" } }],
    ["policy.allowed_providers", { policy: { allowed_providers: ["p69", "acme"] } }],
  ])("names an unknown provider in %s", (field, request) => {
    expect(() => decide(request, [compute("cmp_a")])).toThrowError(
      `${field}: there is no provider called "acme".`,
    );
  });

  test("asks for the provider that a pinned policy forgot", () => {
    expect(() => decide({ policy: { mode: "pinned" } }, [])).toThrowError(
      "policy.pinned_provider is missing",
    );
  });
});
