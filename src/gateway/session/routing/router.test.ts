import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Compute } from "../../../protocol/computes.js";
import { RoutingDecision } from "../../../protocol/routing.js";
import { CATALOG } from "../../compute/catalog.js";
import { type Breaker, newBreaker, withOutcome } from "./breaker.js";
import type { ProviderAccess } from "./contender.js";
import { type Measurements, type Observation, withObserved } from "./measurements.js";
import { type RouterInput, route } from "./router.js";

const NOW = Date.UTC(2026, 10, 24, 12, 0);

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
const ENABLED: ProviderAccess = { adapter: true, credentials: true };
const clouds = (...names: string[]) => new Map(names.map((name) => [name, ENABLED]));

const startups = (seen: [candidate: string, ms: number, times?: number][]): Measurements =>
  seen
    .flatMap(([candidate, ms, times = 1]) => Array.from({ length: times }, () => ({ candidate, ms })))
    .reduce<Measurements>(
      (cells, { candidate, ms }, index) =>
        withObserved(cells, {
          candidate,
          provider: candidate.startsWith("provider_") ? candidate.slice(9) : "p69",
          workload: "preview",
          at: NOW - 3_600_000 + index * 1_000,
          startupMs: ms,
          ok: true,
        }),
      new Map(),
    );

const input = (request: RouterInput["request"], more: Partial<RouterInput> = {}): RouterInput => ({
  request,
  computes: [],
  catalog: CATALOG,
  access: new Map(),
  activeRuns: new Map(),
  measurements: new Map(),
  breakers: new Map(),
  canaries: { creates: 0, canaries: 0 },
  now: NOW,
  chance: 0.5,
  ...more,
});
const decide = (request: RouterInput["request"], computes: Compute[], seen: [string, number][] = []) =>
  route(input(request, { computes, measurements: startups(seen) }));

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
    expect(result).toMatchObject({ chosen: { compute_id: "cmp_b" } });
    // Drawn a little to what all of the account's machines show.
    expect(result.predictedStartupMs).toBeGreaterThan(38);
    expect(result.predictedStartupMs).toBeLessThan(900);
  });

  test.each([
    ["its id", { target_compute_id: "cmp_b" }],
    ["its id, in the newer words", { compute: { compute_id: "cmp_b" } }],
  ])("takes the compute that is asked for by %s", (_, request) => {
    const result = decide(request, [compute("cmp_a"), compute("cmp_b")]);
    expect(result).toMatchObject({ chosen: { compute_id: "cmp_b" }, routing: { fallback_order: [] } });
    expect(result.order).toHaveLength(1);
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

  test("answers the seed's example in the seed's words", () => {
    const request: RouterInput["request"] = {
      task: "Boot a preview environment for a Next.js repo",
      workload: "preview",
      repo: {
        name: "branch-monkey",
        framework: "nextjs",
        languages: ["typescript"],
        signals: ["needs-preview", "short-lived"],
      },
      requirements: {
        runtime: "node",
        package_install: true,
        public_preview: true,
        persistence_level: "medium",
        timeout_minutes: 20,
      },
      policy: { mode: "balanced", allowed_providers: ["vercel", "e2b"], max_startup_ms: 2000 },
    };
    const measurements = startups([
      ["provider_vercel", 820, 20],
      ["provider_e2b", 900, 20],
    ]);
    const result = route(
      input(request, { computes: [compute("cmp_a")], access: clouds("vercel", "e2b"), measurements }),
    );
    expect(result.routing).toEqual({
      recommended_provider: "vercel",
      confidence: "high",
      primary_reason: "Best fit for preview workloads",
      secondary_reasons: [
        "Startup within target",
        "Public preview supported",
        "It has the node runtime",
        "Packages can be installed",
        "Keeps files as well as required (medium)",
      ],
      fallback_order: ["e2b"],
      canary_run: false,
    });
    expect(result.predictedStartupMs).toBeCloseTo(820, -2);
    expect(RoutingDecision.parse(result.decision)).toEqual(result.decision);
  });

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
      "the one asked for lacks a runtime",
      { target_compute_id: "cmp_a", requirements: { runtime: "haskell" } },
      [compute("cmp_a"), compute("cmp_b")],
      "host cmp_a (cmp_a) cannot take this session: it has no haskell runtime.",
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
      "the pinned provider is known for comparison only",
      { policy: { mode: "pinned", pinned_provider: "daytona" } },
      [compute("cmp_a")],
      "Daytona cannot be used by this account yet.",
    ],
    [
      "own machines are asked for and there are none",
      { policy: { allowed_providers: ["p69"] } },
      [],
      "This account has none of what is asked for: Your own machines.",
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
    expect(result).toMatchObject({ chosen: undefined, why, order: [], routing: { confidence: "none" } });
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

describe("hard requirements", () => {
  const gpu = compute("cmp_gpu", { metadata: { labels: { gpu: "yes" }, region: "home" } });
  test.each<[string, RouterInput["request"], string, string]>([
    ["runtime", { requirements: { runtime: "haskell" } }, "provider_vercel", "It has no haskell runtime"],
    [
      "preview",
      { requirements: { public_preview: true } },
      "cmp_gpu",
      "Public preview is not available on it",
    ],
    [
      "persistence",
      { requirements: { persistence_level: "medium" } },
      "provider_cloudflare",
      "It keeps files with low persistence, and medium is required",
    ],
    ["desktop", { requirements: { desktop: true } }, "provider_e2b", "It has no desktop"],
    ["browser", { requirements: { browser: true } }, "provider_e2b", "Nothing says that it has a browser"],
    ["region", { requirements: { region: "fra1" } }, "cmp_gpu", "It is not in fra1"],
    ["region", { requirements: { region: "fra1" } }, "provider_e2b", "Nothing says that it is in fra1"],
    ["labels", { requirements: { labels: { gpu: "yes" } } }, "provider_e2b", "It has no label gpu=yes"],
    [
      "lifetime",
      { requirements: { timeout_minutes: 1_500 } },
      "provider_e2b",
      "It ends sandboxes after 1440 minutes at the latest, and 1500 are required",
    ],
    [
      "startup",
      { policy: { max_startup_ms: 2_000 } },
      "provider_cloudflare",
      "Startup is 2056 ms, over the 2000 ms asked for",
    ],
    [
      "cost",
      { policy: { max_cost_usd: 0.05 }, requirements: { timeout_minutes: 60 } },
      "provider_e2b",
      "60 minutes cost up to $0.12, over the $0.05 allowed",
    ],
    [
      "allowed providers",
      { policy: { allowed_providers: ["p69"] } },
      "provider_vercel",
      "Its provider is not allowed by the policy",
    ],
  ])("%s is refused in plain words", (_, request, key, reason) => {
    const result = route(input(request, { computes: [gpu], access: clouds("vercel", "e2b", "cloudflare") }));
    const candidate = result.candidates.find((one) => one.key === key)!;
    expect(candidate).toMatchObject({ executable: false, score: 0 });
    expect(candidate.reasons).toContain(reason);
    expect(result.order.map((one) => one.key)).not.toContain(key);
  });

  test("each kept one leaves a candidate usable", () => {
    const result = route(
      input({ requirements: { labels: { gpu: "yes" }, region: "home" } }, { computes: [gpu] }),
    );
    expect(result.chosen?.key).toBe("cmp_gpu");
  });

  test("modelled providers are never chosen, whatever is known of them", () => {
    const all = clouds(...CATALOG.map(({ provider }) => provider));
    const keys = route(input({}, { access: all })).order.map((one) => one.key);
    expect(keys.sort()).toEqual(["provider_cloudflare", "provider_e2b", "provider_vercel"]);
  });
});

describe("policies", () => {
  const access = clouds("vercel", "e2b", "cloudflare");
  const measurements = startups([
    ["provider_e2b", 200, 10],
    ["provider_vercel", 700, 10],
    ["provider_cloudflare", 2_000, 10],
  ]);
  test.each([
    ["fastest", "provider_e2b", "Fastest expected start of 3 candidates"],
    ["cheapest", "provider_cloudflare", "Lowest expected cost of 3 candidates"],
  ] as const)("%s takes %s", (mode, key, reason) => {
    const request = { policy: { mode }, requirements: { timeout_minutes: 60 } };
    const result = route(input(request, { access, measurements }));
    expect(result.chosen?.key).toBe(key);
    expect(result.routing.primary_reason).toBe(reason);
  });

  test("resilient leaves a quick candidate that often fails", () => {
    const flaky = Array.from(
      { length: 10 },
      (_, index): Observation => ({
        candidate: "provider_e2b",
        provider: "e2b",
        workload: "preview",
        at: NOW - 60_000 + index,
        ok: index % 3 !== 0,
      }),
    ).reduce<Measurements>(withObserved, measurements);
    const result = route(input({ policy: { mode: "resilient" } }, { access, measurements: flaky }));
    expect(result.chosen?.key).toBe("provider_vercel");
    expect(result.routing.primary_reason).toBe("Most reliable of 3 candidates");
  });

  test("a busy machine gives way to one that is idle", () => {
    const computes = [compute("cmp_a"), compute("cmp_b")];
    const result = route(input({}, { computes, activeRuns: new Map([["cmp_a", 4]]) }));
    expect(result.chosen?.key).toBe("cmp_b");
  });

  test("says that figures of others are not this account's", () => {
    const { routing } = route(input({}, { access: clouds("vercel") }));
    expect(routing).toMatchObject({
      primary_reason: "Vercel Sandbox is the only provider that can take it",
      secondary_reasons: [expect.stringMatching(/^Startup 671 ms, measured by others: computesdk/)],
    });
  });
});

describe("a breaker", () => {
  const failing = [0, 1, 2].reduce<Breaker>(
    (breaker, at) => withOutcome(breaker, { kind: "failed" }, NOW - 1_000 + at),
    newBreaker(NOW - 1_000),
  );
  const breakers = new Map([["provider_vercel", failing]]);
  const access = clouds("vercel");

  test("leaves its candidate out, and the refusal says until when", () => {
    const result = route(input({}, { access, breakers }));
    expect(result.why).toBe("Vercel Sandbox is left out until 12:00 UTC after 3 of 3 creates failed.");
  });

  test("does not stand in the way of who names the candidate", () => {
    const result = route(input({ target_compute_id: "provider_vercel" }, { access, breakers }));
    expect(result.chosen?.key).toBe("provider_vercel");
    expect(result.routing.secondary_reasons.join()).toContain(
      "others would find it left out until 12:00 UTC",
    );
  });

  test("lets a probe through when its time is over", () => {
    expect(route(input({}, { access, breakers, now: NOW + 60_000 })).chosen?.key).toBe("provider_vercel");
  });
});

describe("a canary", () => {
  const access = clouds("vercel", "e2b");
  const measurements = startups([["provider_vercel", 100, 20]]);
  const policy = { canary: { share: 0.2 } };
  const canaries = { creates: 9, canaries: 0 };

  test("goes to the candidate that was measured least, and says so", () => {
    const result = route(input({ policy }, { access, measurements, canaries }));
    expect(result.chosen?.key).toBe("provider_e2b");
    expect(result.routing).toMatchObject({
      canary_run: true,
      recommended_provider: "e2b",
      fallback_order: ["vercel"],
      primary_reason: expect.stringMatching(/^Canary: .*Vercel Sandbox scored highest\.$/),
    });
  });

  test.each<[string, Partial<RouterInput>, RouterInput["request"]]>([
    ["the policy asks for none", {}, {}],
    ["the budget is used up", { canaries: { creates: 9, canaries: 2 } }, { policy }],
    ["it is not drawn", { canaries: { creates: 0, canaries: 0 }, chance: 0.9 }, { policy }],
    ["the provider is pinned", {}, { policy: { ...policy, mode: "pinned", pinned_provider: "vercel" } }],
    ["the target is named", {}, { policy, target_compute_id: "provider_vercel" }],
    ["it would cost more than it may", {}, { policy: { canary: { share: 0.2, max_cost_usd: 0.000_001 } } }],
    ["the other one misses a requirement", {}, { policy, requirements: { region: "fra1" } }],
  ])("does not happen when %s", (_, more, request) => {
    const result = route(input(request, { access, measurements, canaries, ...more }));
    expect(result.routing.canary_run).toBe(false);
    expect(result.chosen?.key).toBe("provider_vercel");
  });
});

describe("for any input", () => {
  const requests = fc.record<RouterInput["request"]>(
    {
      workload: fc.constantFrom("general", "preview", "coding", "data", "toString"),
      repo: fc.record({ signals: fc.subarray(["needs-preview", "private", "long-running", "constructor"]) }),
      requirements: fc.record(
        {
          runtime: fc.constantFrom("shell", "node", "python", "haskell"),
          package_install: fc.boolean(),
          public_preview: fc.boolean(),
          persistence_level: fc.constantFrom("none", "low", "medium", "high"),
          timeout_minutes: fc.integer({ min: 1, max: 2_000 }),
          browser: fc.boolean(),
          desktop: fc.boolean(),
          region: fc.constantFrom("fra1", "home"),
        },
        { requiredKeys: [] },
      ),
      policy: fc.record(
        {
          mode: fc.constantFrom("balanced", "fastest", "cheapest", "resilient"),
          allowed_providers: fc.subarray(["p69", "vercel", "e2b", "cloudflare", "daytona"]),
          max_startup_ms: fc.integer({ min: 1, max: 3_000 }),
          max_cost_usd: fc.double({ min: 0, max: 1, noNaN: true }),
          canary: fc.record({ share: fc.double({ min: 0, max: 0.2, noNaN: true }) }),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );
  const computesOf = fc.uniqueArray(
    fc.record({
      compute_id: fc.constantFrom("cmp_a", "cmp_b", "cmp_c"),
      status: fc.constantFrom("ready", "offline"),
      capabilities: fc.record(
        {
          runtimes: fc.subarray(["shell", "node", "python"]),
          public_preview: fc.boolean(),
          persistence: fc.constantFrom("low", "high"),
          desktop: fc.boolean(),
        },
        { requiredKeys: [] },
      ),
    }),
    { selector: ({ compute_id }) => compute_id, maxLength: 3 },
  );
  const inputs = fc
    .record({
      request: requests,
      computes: computesOf,
      enabled: fc.subarray(["vercel", "e2b", "cloudflare", "daytona"]),
      seen: fc.array(
        fc.tuple(
          fc.constantFrom("cmp_a", "cmp_b", "provider_vercel", "provider_e2b"),
          fc.integer({ min: 1, max: 5_000 }),
        ),
        { maxLength: 12 },
      ),
      chance: fc.double({ min: 0, max: 0.999, noNaN: true }),
    })
    .map(({ request, computes, enabled, seen, chance }) =>
      input(request, {
        computes: computes.map(({ compute_id, ...more }) => compute(compute_id, more)),
        access: clouds(...enabled),
        measurements: startups(seen as [string, number][]),
        canaries: { creates: 20, canaries: 0 },
        chance,
      }),
    );

  test("what is chosen or fallen back to keeps every hard requirement", () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { requirements = {}, policy = {} } = given.request;
        for (const { key, provider, estimates } of route(given).order) {
          const own = given.computes.find(({ compute_id }) => compute_id === key);
          const profile = CATALOG.find((one) => one.provider === provider)!;
          if (own) expect(own.status).toBe("ready");
          else expect(profile.kind === "live" && given.access.get(provider)?.credentials).toBe(true);
          const runtimes = own ? (own.capabilities!.runtimes as string[] | undefined) : profile.runtimes;
          if (requirements.runtime && runtimes) expect(runtimes).toContain(requirements.runtime);
          if (requirements.public_preview) {
            expect(own ? own.capabilities!.public_preview : profile.publicPreview).toBe(true);
          }
          if (requirements.desktop) expect(own?.capabilities?.desktop).not.toBe(false);
          if (requirements.timeout_minutes && !own && profile.limits.maxLifetimeMinutes) {
            expect(profile.limits.maxLifetimeMinutes).toBeGreaterThanOrEqual(requirements.timeout_minutes);
          }
          if (policy.allowed_providers?.length) expect(policy.allowed_providers).toContain(provider);
          if (policy.max_startup_ms && estimates.startup) {
            expect(estimates.startup.p50_ms).toBeLessThanOrEqual(policy.max_startup_ms);
          }
          if (policy.max_cost_usd !== undefined) {
            expect(estimates.cost!.usd).toBeLessThanOrEqual(policy.max_cost_usd);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  test("the same input gives the same answer, whatever the order of the computes", () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { decision } = route(given);
        expect(route(given).decision).toEqual(decision);
        expect(route({ ...given, computes: [...given.computes].reverse() }).decision.order).toEqual(
          decision.order,
        );
      }),
    );
  });

  test("the decision is whole and stays small", () => {
    fc.assert(
      fc.property(inputs, (given) => {
        const { decision, chosen } = route(given);
        expect(RoutingDecision.parse(decision)).toEqual(decision);
        expect(decision.chosen).toBe(chosen?.key ?? null);
        expect(JSON.stringify(decision).length).toBeLessThan(32_768);
        for (const { executable, terms, score } of decision.candidates) {
          if (!executable) expect({ terms, score }).toEqual({ terms: undefined, score: 0 });
          else {
            const sum = Object.values(terms!).reduce((total, { points }) => total + points, 0);
            expect(score).toBeCloseTo(sum, 1);
          }
        }
      }),
    );
  });

  test("a candidate that starts slower never scores higher for it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20_000 }),
        fc.integer({ min: 1, max: 20_000 }),
        fc.constantFrom("balanced", "fastest", "cheapest", "resilient"),
        (a, b, mode) => {
          const score = (ms: number) =>
            route(
              input(
                { policy: { mode } },
                { computes: [compute("cmp_a")], measurements: startups([["cmp_a", ms, 3]]) },
              ),
            ).chosen!.score;
          expect(score(Math.max(a, b))).toBeLessThanOrEqual(score(Math.min(a, b)));
        },
      ),
    );
  });

  test("a thousand computes make a decision that is kept in part, the chosen one with it", () => {
    const many = Array.from({ length: 1_000 }, (_, index) =>
      compute(`cmp_${index}`, { label: "x".repeat(128), status: index === 700 ? "ready" : "offline" }),
    );
    const { decision } = route(input({}, { computes: many }));
    expect(decision.chosen).toBe("cmp_700");
    expect(decision.candidates[0]!.candidate).toBe("cmp_700");
    expect(decision.candidates).toHaveLength(24);
    expect(decision.left_out).toBe(1_000 + CATALOG.length - 1 - 24);
  });
});
