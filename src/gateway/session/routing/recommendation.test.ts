import { describe, expect, test } from "vitest";
import type { Compute } from "../../../protocol/computes.js";
import { RecommendationReport } from "../../../protocol/sessions.js";
import { CATALOG } from "../../compute/catalog.js";
import { newBreaker, withOutcome } from "./breaker.js";
import { noCompute } from "./recommendation.js";
import { type RouterInput, route } from "./router.js";

const URL = "https://cerver.example.com";
const NOW = Date.UTC(2026, 10, 24, 12, 0);
const machine: Compute = {
  compute_id: "cmp_a",
  label: "mac-mini",
  provider: "p69",
  kind: "local",
  scope: "private",
  status: "ready",
  capabilities: { runtimes: ["shell", "node"] },
};
const refused = (request: RouterInput["request"], more: Partial<RouterInput> = {}) => {
  const input: RouterInput = {
    request,
    computes: [],
    catalog: CATALOG,
    access: new Map(
      ["vercel", "e2b", "cloudflare"].map((name) => [name, { adapter: true, credentials: false }]),
    ),
    activeRuns: new Map(),
    measurements: new Map(),
    breakers: new Map(),
    canaries: { creates: 0, canaries: 0 },
    now: NOW,
    chance: 0,
    ...more,
  };
  const result = route(input);
  expect(result.chosen).toBe(undefined);
  const error = noCompute(result, input, URL);
  expect(error).toMatchObject({ code: "no_compute", status: 409, message: result.why });
  const report = RecommendationReport.parse(error.details!.report);
  expect(report.next_steps[0]).toBe(error.hint);
  return report;
};
const enabled = { access: new Map([["cloudflare", { adapter: true, credentials: true }]]) };

describe("the report of a create that nothing could take", () => {
  test("tells a new account both ways, in commands", () => {
    const report = refused({});
    expect(report.primary_reason).toBe("No compute is attached to this account.");
    expect(report.next_steps.join("\n")).toContain(
      `On the machine you want to use: cerver relay --gateway ${URL}`,
    );
    expect(report.next_steps.join("\n")).toContain(": cerver provider enable ");
    expect(report.next_steps.at(-1)).toContain('"compute": null');
  });

  test("shows how to enable what was asked for, first", () => {
    const report = refused({ policy: { mode: "pinned", pinned_provider: "vercel" } });
    expect(report.next_steps.slice(0, 2)).toEqual([
      "Enable Vercel Sandbox: cerver provider enable vercel",
      `Enable Vercel Sandbox: curl -X POST ${URL}/v2/account/providers -H "Authorization: Bearer $CERVER_API_TOKEN" ` +
        `-H "Content-Type: application/json" -d '{"provider":"vercel","credentials":{"vercel_token":"...",` +
        `"vercel_team_id":"...","vercel_project_id":"..."}}'`,
    ]);
    expect(report.recommended_provider).toBe("vercel");
  });

  test("points to what is ready, when only a name keeps it out", () => {
    const report = refused({ policy: { allowed_providers: ["e2b"] } }, { computes: [machine] });
    expect(report.next_steps[0]).toBe('Use what is ready: "target_compute_id": "cmp_a"');
    expect(report.recommended_provider).toBe("p69");
  });

  test.each<[string, RouterInput["request"], string]>([
    [
      "startup",
      { policy: { max_startup_ms: 100 } },
      'Wait longer for Cloudflare Sandbox: "max_startup_ms": 2100',
    ],
    [
      "cost",
      { policy: { max_cost_usd: 0 }, requirements: { timeout_minutes: 60 } },
      'Spend more on Cloudflare Sandbox: "max_cost_usd": 0.027',
    ],
  ])("names the limit on %s that would do", (_, request, step) => {
    expect(refused(request, enabled).next_steps[0]).toBe(step);
  });

  test("says how to try a provider that is left out for its failures", () => {
    const failed = [0, 1, 2].reduce(
      (breaker) => withOutcome(breaker, { kind: "failed" }, NOW),
      newBreaker(NOW),
    );
    const report = refused({}, { ...enabled, breakers: new Map([["provider_cloudflare", failed]]) });
    expect(report.next_steps[0]).toBe('Try it all the same: "target_compute_id": "provider_cloudflare"');
    expect(report.secondary_reasons[0]).toBe(
      "Cloudflare Sandbox: Left out until 12:00 UTC after 3 of 3 creates failed",
    );
  });

  test("stays small with a thousand computes", () => {
    const computes = Array.from({ length: 1_000 }, (_, index) => ({
      ...machine,
      compute_id: `cmp_${index}`,
      status: "offline",
    }));
    expect(refused({}, { computes }).candidates).toHaveLength(24);
  });
});
