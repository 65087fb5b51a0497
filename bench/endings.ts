/** What has to be undone when the bench ends, in whatever way: what began last ends first. */
export class Endings {
  readonly #endings: (() => unknown)[] = [];
  #ended: Promise<Error[]> | undefined;

  /** What is added too late, because a signal came in between, is ended at once. */
  add(end: () => unknown): void {
    if (this.#ended) void end();
    else this.#endings.push(end);
  }

  /** Ends everything, once, and gives what went wrong: one that fails must not keep the others. */
  all(): Promise<Error[]> {
    this.#ended ??= this.#endAll();
    return this.#ended;
  }

  async #endAll(): Promise<Error[]> {
    const failures: Error[] = [];
    for (const end of this.#endings.reverse()) {
      try {
        await end();
      } catch (error) {
        failures.push(error as Error);
      }
    }
    return failures;
  }
}
