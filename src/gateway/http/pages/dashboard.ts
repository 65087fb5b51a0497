import { type Context, Hono } from "hono";
import { type Asset, DashboardAssets } from "../dashboard-assets.js";

/** What a browser is told to refuse on the page: whatever is not this gateway's own file, frames around it, inline code. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join("; ");

/**
 * `/`: the page, for people. It is the same files for everybody; what it shows it asks the API for, with the sign-in's
 * cookie.
 */
export function dashboardPages() {
  const assets = new DashboardAssets();
  const serve = async (c: Context, path: string) => {
    const asset = await assets.find(path);
    return asset ? answer(c, asset) : c.notFound();
  };
  return (
    new Hono()
      .get("/", (c) => serve(c, "index.html"))
      .get("/theme.js", (c) => serve(c, "theme.js"))
      .get("/icon.svg", (c) => serve(c, "icon.svg"))
      .get("/assets/:name", (c) => serve(c, `assets/${c.req.param("name")}`))
      // Addresses of earlier versions, which may stand in chats and logs.
      .get("/sessions/:id", (c) => c.redirect(`/#sessions/${encodeURIComponent(c.req.param("id"))}`))
  );
}

function answer(c: Context, asset: Asset): Response {
  const headers: Record<string, string> = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": asset.isHashed ? "public, max-age=31536000, immutable" : "no-cache",
    ETag: asset.etag,
    Vary: "Accept, Accept-Encoding",
  };
  const known = c.req.header("if-none-match")?.replaceAll("W/", "") ?? "";
  if (known.split(/, */).includes(asset.etag)) return c.body(null, 304, headers);
  const accepted = (c.req.header("accept-encoding") ?? "").split(",").map((one) => one.trim().split(";")[0]);
  const [coding, bytes] =
    asset.br && accepted.includes("br")
      ? ["br", asset.br]
      : asset.gzip && accepted.includes("gzip")
        ? ["gzip", asset.gzip]
        : [undefined, asset.bytes];
  return c.body(bytes, 200, {
    ...headers,
    "Content-Type": asset.type,
    ...(coding && { "Content-Encoding": coding }),
  });
}
