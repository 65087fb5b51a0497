/** Calls a function for each item, some at once. The first failure stops it, when those under way are done. */
export async function eachOf<T>(
  items: Iterable<T>,
  atOnce: number,
  handle: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let failed = false;
  const work = async () => {
    for (let next = iterator.next(); !next.done && !failed; next = iterator.next()) {
      try {
        await handle(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const done = await Promise.allSettled(Array.from({ length: atOnce }, work));
  for (const result of done) if (result.status === "rejected") throw result.reason;
}
