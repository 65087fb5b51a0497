import type { Env } from "../util/paths.js";

/** Whether a browser window could be seen by whoever sits here. */
export function hasDisplay(env: Env, platform: NodeJS.Platform = process.platform): boolean {
  if (env.CI || env.SSH_CONNECTION || env.SSH_TTY) return false;
  return platform !== "linux" || Boolean(env.DISPLAY || env.WAYLAND_DISPLAY);
}

/** Shows a page in the user's browser. False when there is none to show it in: the caller has printed the address. */
export async function openBrowser(url: string, env: Env): Promise<boolean> {
  if (!/^https?:\/\//.test(url) || !hasDisplay(env)) return false;
  try {
    const { default: open } = await import("open");
    const child = await open(url);
    child.on("error", () => {});
    child.unref();
    return true;
  } catch {
    return false;
  }
}
