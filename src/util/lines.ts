/** Work on one thing, one after the other; work on different things, at once. */
export class Lines {
  readonly #last = new Map<string, Promise<unknown>>();

  async inLine<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key);
    }
  }
}
