import { describe, expect, test } from "vitest";
import { MODELLED_PROVIDER_NAMES, PROVIDER_NAMES, ProfileView } from "../../protocol/providers.js";
import { CATALOG, profileOf } from "./catalog.js";
import { costUsd, enableCommands, profileView } from "./profile.js";

const URL = "https://cerver.example.com";

describe("the catalog", () => {
  test("has one profile for each provider, and says which are for comparison only", () => {
    const named = (kind: string) =>
      CATALOG.filter((one) => one.kind === kind).map(({ provider }) => provider);
    expect(named("live")).toEqual([...PROVIDER_NAMES]);
    expect(named("modelled")).toEqual([...MODELLED_PROVIDER_NAMES]);
  });

  test.each(CATALOG.map((profile) => [profile.provider, profile] as const))(
    "%s: every figure has a source and a date",
    (_, profile) => {
      const view = profileView(profile, URL);
      expect(ProfileView.parse(view)).toEqual(view);
      for (const figure of [view.cost, view.startup.published, view.startup.measured]) {
        if (figure === null) continue;
        expect(figure.source).not.toBe("");
        expect(figure.date).toMatch(/^\d{4}-\d\d/);
      }
      const { source, ...limits } = view.limits;
      if (Object.values(limits).some((limit) => limit !== null)) expect(source).not.toBe(null);
    },
  );

  test("own machines cost nothing, however long and large", () => {
    expect(costUsd(profileOf("p69")!.price!, 1e6, 64, 512)).toBe(0);
  });

  test("prices follow time and size", () => {
    const price = profileOf("e2b")!.price!;
    // E2B gives $0.0828 an hour for 1 vCPU and 2 GB.
    expect(costUsd(price, 3_600, 1, 2)).toBeCloseTo(0.0828, 10);
    expect(costUsd(price, 1_800, 1, 2)).toBeCloseTo(0.0414, 10);
    expect(costUsd(price, 3_600)).toBeCloseTo(2 * 0.0504 + 0.0162, 10);
  });

  test.each([
    ["p69", [`cerver relay --gateway ${URL}`]],
    [
      "e2b",
      [
        "cerver provider enable e2b",
        expect.stringContaining('{"provider":"e2b","credentials":{"e2b_api_key"'),
      ],
    ],
    ["daytona", []],
  ])("%s is enabled by commands to paste", (provider, commands) => {
    expect(enableCommands(profileOf(provider)!, URL)).toEqual(commands);
  });
});
