import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "./random.js";
import type { BreakKind, Direction } from "./tcp-proxy.js";
import type { Part, World } from "./world.js";

/** Something bad that happens once. What it leaves broken, `World.heal` mends. */
export interface Fault {
  name: string;
  weight: number;
  strike(world: World, random: Random, signal: AbortSignal): Promise<void>;
}

/** A cut that waits for a byte that does not come strikes anyway after this long. */
const IDLE_CUT_MS = 700;
/** A run's idempotency key is kept for 24 hours: clocks stay well within that of each other. */
const FURTHEST_CLOCK_MS = 6 * 3_600_000;

const DIRECTIONS: readonly (readonly Direction[])[] = [["up", "down"], ["up"], ["down"]];

/** What the path between relay and gateway does. */
export const PATH_FAULTS: readonly Fault[] = [
  {
    name: "cut at a byte",
    weight: 4,
    strike: async ({ proxy }, random, signal) => {
      const kind = drawKind(random);
      const cut = { afterBytes: random.int(0, 6_000), directions: random.pick(DIRECTIONS), kind };
      await Promise.race([proxy.cutAt(cut), pause(IDLE_CUT_MS, signal).then(() => proxy.cutNow(kind))]);
    },
  },
  {
    name: "truncated message",
    weight: 4,
    strike: async ({ proxy }, random, signal) => {
      const kind = drawKind(random);
      const direction = random.pick(["up", "down"] as const);
      const struck = proxy.truncateNext(random.next(), direction, kind);
      await Promise.race([struck, pause(IDLE_CUT_MS, signal).then(() => proxy.cutNow(kind))]);
    },
  },
  {
    name: "stall, then go on",
    weight: 2,
    strike: async ({ proxy }, random, signal) => {
      proxy.stall(random.pick(DIRECTIONS));
      await pause(random.int(100, 2_500), signal);
      proxy.goOn();
    },
  },
  {
    name: "stall, then cut",
    weight: 2,
    strike: async ({ proxy }, random, signal) => {
      proxy.stall(random.pick(DIRECTIONS));
      await pause(random.int(100, 1_500), signal);
      proxy.cutNow(drawKind(random));
      proxy.goOn();
    },
  },
  {
    name: "delay",
    weight: 1,
    strike: async ({ proxy }, random, signal) => {
      proxy.delay(random.int(20, 300));
      await pause(random.int(500, 2_000), signal);
      proxy.delay(0);
    },
  },
  {
    name: "half-open connection",
    weight: 2,
    strike: async ({ proxy }) => proxy.halve(),
  },
  {
    name: "duplicate connection",
    weight: 1,
    strike: async ({ proxy }, random) => {
      proxy.duplicate(random.chance(0.5) ? 1 : random.next());
    },
  },
  {
    name: "outage",
    weight: 2,
    strike: async ({ proxy }, random, signal) => {
      proxy.refuse();
      proxy.cutNow(drawKind(random));
      await pause(random.int(200, 2_000), signal);
      proxy.heal();
    },
  },
];

/** What happens to the processes. */
export const PROCESS_FAULTS: readonly Fault[] = [
  { name: "kill -9 of the gateway", weight: 3, strike: killAndStart("gateway") },
  { name: "kill -9 of the relay", weight: 4, strike: killAndStart("relay") },
  {
    name: "kill -9 of both",
    weight: 1,
    strike: async (world, random, signal) => {
      await Promise.all([world.kill("gateway"), world.kill("relay")]);
      await pause(random.int(0, 500), signal);
      await world.startGateway(signal);
      world.startRelay();
    },
  },
  {
    name: "clock step",
    weight: 3,
    strike: async (world, random) => {
      const part = random.pick(["gateway", "relay"] as const);
      await world.shiftClock(part, random.int(-FURTHEST_CLOCK_MS, FURTHEST_CLOCK_MS));
    },
  },
];

/**
 * Faults of one list one after another, with pauses between them, for about as long as given. What a fault does is drawn
 * from the seed; which byte or which moment of a run it meets also depends on the machine.
 */
export async function strikeFor(
  ms: number,
  faults: readonly Fault[],
  world: World,
  random: Random,
  signal: AbortSignal,
  onStrike: (name: string) => void,
): Promise<void> {
  const until = performance.now() + ms;
  for (let index = 0; ; index++) {
    const draw = random.fork(index);
    await pause(draw.int(100, 1_800), signal);
    if (performance.now() > until) return;
    const fault = draw.weighted(faults);
    onStrike(fault.name);
    await fault.strike(world, draw, signal);
  }
}

function killAndStart(part: Part): Fault["strike"] {
  return async (world, random, signal) => {
    await world.kill(part);
    await pause(random.chance(0.5) ? 0 : random.int(0, 1_500), signal);
    if (part === "gateway") await world.startGateway(signal);
    else world.startRelay();
  };
}

function drawKind(random: Random): BreakKind {
  return random.chance(0.6) ? "reset" : "end";
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal });
}
