import { describe, expect, test } from "vitest";
import {
  falseAlarms,
  mean,
  percentile,
  playOracle,
  playRouter,
  policyViolations,
  regret,
  replayAgainstTruth,
  SCENARIOS,
  startsToNotice,
  World,
} from "./router-simulation.js";

/** A shorter form of what scripts/simulate-router.ts prints, with bounds that a worse router would break. */
const world = (name: string, creates?: number) => {
  const scenario = SCENARIOS.find((one) => one.name === name)!;
  return new World({ ...scenario, creates: creates ?? scenario.creates }, 11);
};
const play = (on: World, learns: boolean, canary = 0) =>
  playRouter(on, { learns, canary, mode: "fastest", seed: 3 });

describe("the router against scripted providers", { timeout: 120_000 }, () => {
  test.each([
    ["steady", 0.01],
    ["the best slows down 3x for two days", 0.12],
    ["heavy tails of the best", 0.08],
  ])("%s: waits less than %d longer than one who knows everything", (name, bound) => {
    const on = world(name, 1_500);
    const learnt = regret(play(on, true), playOracle(on));
    expect(learnt).toBeLessThan(bound);
    expect(learnt).toBeLessThanOrEqual(regret(play(on, false), playOracle(on)));
  });

  test("learns the slow hours of the day", () => {
    const on = world("slow hours every day");
    const oracle = playOracle(on);
    expect(regret(play(on, true), oracle)).toBeLessThan(0.5 * regret(play(on, false), oracle));
  });

  test("loses no create in an outage, and stops asking who is down", () => {
    const on = world("two outages of the best", 1_200);
    const played = play(on, true);
    expect(played.lost).toBe(0);
    const down = played.firstTry.slice(72 * 12, 76 * 12);
    expect(down.filter((provider) => provider === "e2b").length).toBeLessThan(20);
  });

  test("finds a newcomer by its canaries, and keeps to their budget", () => {
    const on = world("a newcomer overtakes");
    const oracle = playOracle(on);
    const with5 = play(on, true, 0.05);
    expect(regret(with5, oracle)).toBeLessThan(0.6 * regret(play(on, true), oracle));
    expect(with5.canaries).toBeLessThanOrEqual(0.05 * 2_000 + 1);
    expect(with5.canaries).toBeGreaterThan(0.05 * 2_000 - 2);
  });

  test("notices a 2x slowdown in a few starts, and sees none where there is none", () => {
    const shape = { p50: 671, p95: 1_062, p99: 1_315 };
    const starts = Array.from({ length: 60 }, (_, seed) => startsToNotice(shape, seed).router);
    expect(percentile(starts, 0.5)).toBeLessThanOrEqual(6);
    expect(percentile(starts, 0.9)).toBeLessThanOrEqual(10);
    expect(falseAlarms(shape, 1, 1_000)).toBeLessThan(0.01);
  });

  test("never tries what a request rules out", () => {
    const { tried, refused, violations } = policyViolations(3_000, 5);
    expect(tried).toBeGreaterThan(500);
    expect(refused).toBeGreaterThan(500);
    expect(violations).toBe(0);
  });

  test("replays another policy close to the truth", () => {
    const on = new World(
      { ...SCENARIOS[0]!, creates: 600, request: { requirements: { timeout_minutes: 60 } } },
      2,
    );
    const played = playRouter(on, { learns: true, canary: 0.05, mode: "cheapest", seed: 3 });
    const { said, truth } = replayAgainstTruth(on, played, "fastest");
    expect(said / truth).toBeGreaterThan(0.9);
    expect(said / truth).toBeLessThan(1.1);
    expect(mean(played.waits)).toBeGreaterThan(2 * said);
  });
});
