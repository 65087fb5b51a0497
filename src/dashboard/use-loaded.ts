import { useCallback, useEffect, useRef, useState } from "react";
import type { CerverError, SessionNews } from "../client/index.js";
import { asCerverError } from "./api.js";
import { useNews } from "./live.js";

export interface Loaded<T> {
  /** What was read last; it stays while it is read again, and when that fails. */
  data: T | undefined;
  error: CerverError | undefined;
  /** Reads again. */
  reload(): void;
  /** Puts another value in its place, as one that the page itself has changed. */
  set(value: T): void;
}

/** News that comes in a burst is answered by one read after it, and by one each so long during it. */
const COALESCE_MS = 250;
/** What was read last under a key shows at once when a person comes back to it. */
const MAX_REMEMBERED = 50;
const remembered = new Map<string, unknown>();

/**
 * Reads something of the gateway, and again whenever news says that it may have changed. At most one read is on its way.
 *
 * @param key names what is read; another key is another thing, and begins empty unless it was read before
 * @param isAbout whether a piece of news may have changed it; after `missed` it is read again in any case
 */
export function useLoaded<T>(
  key: string,
  read: (signal: AbortSignal) => Promise<T>,
  isAbout: (news: SessionNews) => boolean = () => false,
): Loaded<T> {
  const [held, setHeld] = useState<{ key: string; data?: T; error?: CerverError }>({ key });
  const latestRead = useRef(read);
  latestRead.current = read;
  const wanted = useRef<() => void>(() => {});

  useEffect(() => {
    let reading: AbortController | undefined;
    let isDue = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async () => {
      timer = undefined;
      if (reading) {
        isDue = true;
        return;
      }
      isDue = false;
      const mine = new AbortController();
      reading = mine;
      try {
        const data = await latestRead.current(mine.signal);
        if (mine.signal.aborted) return;
        remember(key, data);
        setHeld({ key, data });
      } catch (error) {
        if (mine.signal.aborted) return;
        const known = asCerverError(error);
        setHeld((before) => ({ ...(before.key === key ? before : { key }), error: known }));
      } finally {
        reading = undefined;
        if (isDue && !mine.signal.aborted) wanted.current();
      }
    };
    wanted.current = () => {
      timer ??= setTimeout(load, COALESCE_MS);
    };
    void load();
    return () => {
      clearTimeout(timer);
      reading?.abort();
      wanted.current = () => {};
    };
  }, [key]);

  useNews((news) => {
    if (news.type === "missed" || isAbout(news)) wanted.current();
  });

  const reload = useCallback(() => wanted.current(), []);
  const set = useCallback(
    (data: T) => {
      remember(key, data);
      setHeld({ key, data });
    },
    [key],
  );
  const isOurs = held.key === key;
  return {
    data: isOurs && "data" in held ? held.data : (remembered.get(key) as T | undefined),
    error: isOurs ? held.error : undefined,
    reload,
    set,
  };
}

function remember(key: string, data: unknown): void {
  remembered.delete(key);
  remembered.set(key, data);
  if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
}

/** Forgets what was read, for the next who signs in. */
export function forgetAll(): void {
  remembered.clear();
}
