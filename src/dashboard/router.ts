import { useMemo, useSyncExternalStore } from "react";

/** `#sessions/sess_1?q=x` is the page `sessions`, the rest `["sess_1"]`, and the query `q=x`. */
export interface Route {
  page: string;
  rest: string[];
  query: URLSearchParams;
}

export function parseHash(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", ...rest] = path.split("/").map(decoded);
  return { page: page || "sessions", rest: rest.filter(Boolean), query: new URLSearchParams(query) };
}

/** The address of a page of this page. */
export function href(page: string, rest: readonly string[] = [], query: Record<string, string> = {}): string {
  const path = [page, ...rest].map(encodeURIComponent).join("/");
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#${path}${search && `?${search}`}`;
}

export function go(address: string): void {
  location.hash = address;
}

/** Changes the address without a step in the history, as what is typed into a filter does. */
export function replace(address: string): void {
  history.replaceState(null, "", address);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return useMemo(() => parseHash(hash), [hash]);
}

function subscribe(listener: () => void): () => void {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
}

/** Somebody may have typed a `%` of their own. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
