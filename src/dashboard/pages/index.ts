import { type ComponentType, type LazyExoticComponent, lazy } from "react";

/** What a page gets: the parts of the address behind its name, and the query. */
export interface PageProps {
  rest: string[];
  query: URLSearchParams;
}

export interface Page {
  /** Its name in the address: `#sessions`. */
  name: string;
  title: string;
  /** `g` and this key lead there. */
  key: string;
  Page: LazyExoticComponent<ComponentType<PageProps>> | ComponentType<PageProps>;
}

/** The pages in the order of the navigation. Each is loaded when it is first opened. */
export const PAGES: readonly Page[] = [
  { name: "sessions", title: "Sessions", key: "s", Page: lazy(() => import("./sessions.js")) },
  { name: "computes", title: "Computes", key: "c", Page: lazy(() => import("./computes.js")) },
];
