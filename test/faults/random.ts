import { createCipheriv, createHash } from "node:crypto";

/**
 * Numbers and bytes that follow from a name.
 *
 * {@link fork} gives an independent stream, so that what one part draws does not depend on how much another drew before.
 */
export class Random {
  #state: number;

  constructor(readonly name: string) {
    this.#state = createHash("sha256").update(name).digest().readUInt32LE(0);
  }

  fork(name: string | number): Random {
    return new Random(`${this.name}/${name}`);
  }

  /** From 0 up to and without 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.int(0, from.length - 1)]!;
  }

  weighted<T extends { weight: number }>(from: readonly T[]): T {
    let rest = this.next() * from.reduce((sum, { weight }) => sum + weight, 0);
    for (const one of from) {
      rest -= one.weight;
      if (rest < 0) return one;
    }
    return from.at(-1)!;
  }

  /** The bytes that this stream's name stands for; they do not depend on what was drawn. */
  bytes(length: number): Buffer {
    const seed = createHash("sha256").update(`${this.name}:bytes`).digest();
    return createCipheriv("aes-128-ctr", seed.subarray(0, 16), seed.subarray(16)).update(
      Buffer.alloc(length),
    );
  }
}
