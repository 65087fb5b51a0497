import { createHash, randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { Cerver } from "./harness.js";

/** A browser that is signed in, as far as HTTP goes: its cookie. */
export async function signInByHttp({ gateway }: Cerver): Promise<string> {
  const token = new URL(await gateway.createSigninLink()).searchParams.get("token")!;
  const answer = await fetch(`${gateway.url}/signin`, {
    method: "POST",
    redirect: "manual",
    headers: { origin: gateway.url, "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ token }),
  });
  return answer.headers
    .getSetCookie()
    .find((cookie) => cookie.startsWith("cerver_signin="))!
    .split(";")[0]!;
}

/** What stands on the page of an authorization request. */
export async function authorizePage(url: string | URL, cookie: string) {
  const answer = await fetch(url, { headers: { cookie }, redirect: "manual" });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, csrf: field(text, "csrf") };
}

/** Presses a button on that page; returns the address that the browser is led to. */
export async function press(
  url: string | URL,
  cookie: string,
  form: Record<string, string> = {},
  { csrf, origin = new URL(url).origin }: { csrf?: string; origin?: string } = {},
) {
  const token = csrf ?? (await authorizePage(url, cookie)).csrf ?? "";
  const answer = await fetch(url, {
    method: "POST",
    redirect: "manual",
    headers: { cookie, origin, "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ csrf: token, decision: "approve", ...form }),
  });
  const text = await answer.text();
  const to = /http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1]?.replaceAll("&amp;", "&");
  return { status: answer.status, text, to: to === undefined ? undefined : new URL(to) };
}

function field(text: string, name: string): string | undefined {
  return new RegExp(`name="${name}" value="([^"]*)"`).exec(text)?.[1];
}

export function pkce() {
  const verifier = randomBytes(32).toString("base64url");
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

export interface WebServer {
  url: string;
  /** The paths that were asked for. */
  asked: string[];
  stop(): Promise<void>;
}

/** A web server on loopback, such as one that holds clients' documents. */
export async function startWebServer(listener: RequestListener): Promise<WebServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
