import type { MiddlewareHandler } from "hono";
import { html } from "hono/html";

type Html = ReturnType<typeof html>;

export interface PageOptions {
  title: string;
  /** A page with one thing to do. */
  narrow?: boolean;
  signedIn?: boolean;
  /** Where the browser goes on to by itself. */
  goesOnTo?: string;
}

/** A whole page around its content. Everything that is put into `html` templates is escaped by them. */
export function page(
  { title, narrow = false, signedIn = false, goesOnTo }: PageOptions,
  content: Html | Promise<Html>,
) {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · cerver</title>
<link rel="stylesheet" href="/style.css">
${goesOnTo === undefined ? "" : html`<meta http-equiv="refresh" content="0;url=${goesOnTo}">`}
</head>
<body>
<header><a href="/">cerver</a>${signedIn ? html`<form method="post" action="/signout"><button>Sign out</button></form>` : ""}</header>
<main class="${narrow ? "narrow" : ""}">
<h1>${title}</h1>
${content}
</main>
</body>
</html>`;
}

/** What a browser is told to refuse on our pages: scripts, frames, and forms that send elsewhere. */
export function pageHeaders(): MiddlewareHandler {
  return async (c, next) => {
    await next();
    c.header(
      "Content-Security-Policy",
      "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    c.header("X-Frame-Options", "DENY");
    c.header("X-Content-Type-Options", "nosniff");
    // With "no-referrer" a browser hides the origin of our own forms as well (Fetch standard, "append a request Origin header").
    c.header("Referrer-Policy", "same-origin");
    if (!c.res.headers.has("Cache-Control")) c.header("Cache-Control", "no-store");
  };
}

/** "3 minutes ago", with the exact time to hover over. */
export function ago(at: number, now: number): Html | Promise<Html> {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  const iso = new Date(at).toISOString();
  return html`<time datetime="${iso}" title="${iso}">${words(seconds)}</time>`;
}

function words(seconds: number): string {
  if (seconds < 10) return "just now";
  for (const [size, name] of [
    [86_400, "day"],
    [3_600, "hour"],
    [60, "minute"],
    [1, "second"],
  ] as const) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
  }
  return "just now";
}
