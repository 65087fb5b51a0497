import { useEffect, useRef } from "react";
import type { SessionNews } from "../client/index.js";
import { asCerverError, askWhoIAm, cerver } from "./api.js";
import { createStore, useStore } from "./store.js";

/** `gone`: the gateway does not answer, and is asked again by itself. */
export type Link = "connecting" | "live" | "gone";

/** The gateway says something every 15 s. Behind a silence as long as this there is nobody. */
const QUIET_MS = 40_000;
/** The first wait before a new try; each next one is twice as long, up to the last. */
const FIRST_WAIT_MS = 500;
const LAST_WAIT_MS = 15_000;
/** A page that nobody looks at gives its connection back after this long: a browser has six for each gateway. */
const HIDDEN_MS = 30_000;

const link = createStore<Link>("connecting");
export const useLink = () => useStore(link);

type Listener = (news: SessionNews) => void;
const listeners = new Set<Listener>();

/** Hears of what happens in the account. `missed` says that more may have happened than was told: read again. */
export function useNews(listener: Listener): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const hear: Listener = (news) => latest.current(news);
    listeners.add(hear);
    return () => void listeners.delete(hear);
  }, []);
}

function tell(news: SessionNews): void {
  for (const listener of listeners) listener(news);
}

/**
 * Keeps the page's one connection for news open, until the returned function is called. It is opened again when it breaks,
 * when the machine is back online, and when a page is looked at again.
 */
export function keepListening(): () => void {
  let stopped = false;
  let isFirst = true;
  let tries = 0;
  let connection: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let hiddenTimer: ReturnType<typeof setTimeout> | undefined;

  const opened = () => {
    tries = 0;
    link.set("live");
    if (!isFirst) tell({ type: "missed", count: 0 });
    isFirst = false;
  };
  const connect = async () => {
    clearTimeout(timer);
    connection?.abort();
    const mine = new AbortController();
    connection = mine;
    try {
      for await (const news of cerver.events(mine.signal, { opened, quietMs: QUIET_MS })) tell(news);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (asCerverError(error).code === "unauthenticated") return void askWhoIAm();
    }
    link.set("gone");
    const wait = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries++);
    timer = setTimeout(connect, wait * (0.75 + Math.random() / 2));
  };
  const onVisibility = () => {
    clearTimeout(hiddenTimer);
    if (!document.hidden) {
      if (connection === undefined || link.get() === "gone") void connect();
      return;
    }
    hiddenTimer = setTimeout(() => {
      clearTimeout(timer);
      connection?.abort();
      connection = undefined;
    }, HIDDEN_MS);
  };
  const onOnline = () => {
    if (!stopped && link.get() === "gone") void connect();
  };

  void connect();
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", onOnline);
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(hiddenTimer);
    connection?.abort();
    document.removeEventListener("visibilitychange", onVisibility);
    window.removeEventListener("online", onOnline);
    link.set("connecting");
  };
}

/** Tries to reach the gateway now, instead of after the wait. */
export function tryNow(): void {
  window.dispatchEvent(new Event("online"));
}
