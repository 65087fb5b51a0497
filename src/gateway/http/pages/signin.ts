import { type Context, Hono } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { html } from "hono/html";
import { type BrowserSignins, SIGNIN_LIFE_SECONDS } from "../../account/browser-signins.js";
import type { SigninLinks } from "../../account/signin-links.js";
import { isSameOrigin, SIGNIN_COOKIE } from "../auth.js";
import { page } from "./layout.js";

const NEXT_COOKIE = "cerver_next";

export interface SigninPagesDeps {
  signins: BrowserSignins;
  links: SigninLinks;
  publicUrl: () => string;
}

/** `/signin` and `/signout`: a one-time link becomes a cookie. */
export function signinPages({ signins, links, publicUrl }: SigninPagesDeps) {
  return new Hono()
    .get("/signin", async (c) => {
      const secret = c.req.query("token") ?? "";
      if (!(await links.isGood(secret))) return c.html(usedUp(), 403);
      // The link itself changes nothing: programs that preview links would use it up.
      return c.html(
        page(
          { title: "Sign in", narrow: true },
          html`<div class="card"><p>This signs this browser in to your cerver gateway for 30 days.</p>
<form class="row" method="post" action="/signin"><input type="hidden" name="token" value="${secret}"><button class="main">Sign in</button></form></div>`,
        ),
      );
    })
    .post("/signin", async (c) => {
      if (!isSameOrigin(c)) return c.html(foreign(), 403);
      const form = await c.req.parseBody();
      const accountId = await links.redeem(String(form.token ?? ""));
      if (!accountId) return c.html(usedUp(), 403);
      setCookie(c, SIGNIN_COOKIE, await signins.create(accountId), {
        httpOnly: true,
        sameSite: "Strict",
        path: "/",
        maxAge: SIGNIN_LIFE_SECONDS,
        secure: publicUrl().startsWith("https:"),
      });
      const next = localPath(Buffer.from(getCookie(c, NEXT_COOKIE) ?? "", "base64url").toString());
      deleteCookie(c, NEXT_COOKIE, { path: "/signin" });
      return c.redirect(next, 303);
    })
    .post("/signout", async (c) => {
      if (!isSameOrigin(c)) return c.html(foreign(), 403);
      const secret = getCookie(c, SIGNIN_COOKIE);
      if (secret) await signins.end(secret);
      deleteCookie(c, SIGNIN_COOKIE, { path: "/" });
      return c.redirect("/", 303);
    });
}

/** Browsers drop a larger cookie without a word (RFC 6265, section 6.1: 4,096 bytes with its name). */
const MAX_COOKIE_LENGTH = 4_000;

/** Where a browser shall be led once it has signed in. False for a path that is too long to be remembered. */
export function comeBackTo(c: Context, path: string): boolean {
  const value = Buffer.from(path).toString("base64url");
  if (value.length > MAX_COOKIE_LENGTH) return false;
  setCookie(c, NEXT_COOKIE, value, { httpOnly: true, sameSite: "Strict", path: "/signin", maxAge: 900 });
  return true;
}

/** The account that a browser is signed in to. */
export async function signedInAccount(c: Context, signins: BrowserSignins): Promise<string | undefined> {
  const secret = getCookie(c, SIGNIN_COOKIE);
  return secret === undefined ? undefined : signins.verify(secret);
}

/** What a person does who is not signed in. */
export function howToSignIn() {
  return html`<p>Sign in with a one-time link. On the machine where the gateway runs, type</p>
<pre>cerver signin-link</pre>
<p>and open the address it prints, in this browser.</p>`;
}

/** @param comesBack whether the browser is led on to what it asked for */
export function signInFirst(comesBack = true) {
  const again = comesBack ? "" : html`<p>Then begin again in the program that sent you here.</p>`;
  return page(
    { title: "Sign in first", narrow: true },
    html`<div class="card">${howToSignIn()}${again}</div>`,
  );
}

export function foreign() {
  return page(
    { title: "Not from here", narrow: true },
    html`<div class="card"><p>This form was not sent by a page of this gateway, so nothing was done.</p><p><a href="/">Go to the gateway's own page</a></p></div>`,
  );
}

function usedUp() {
  return page(
    { title: "This link does not work any more", narrow: true },
    html`<div class="card"><p>Sign-in links work once, for ten minutes.</p>${howToSignIn()}</div>`,
  );
}

/** A path of this gateway to go on to; anything else leads to the start page. */
function localPath(path: string | undefined): string {
  return path && /^\/(?![/\\])[\w\-./?=&%]*$/.test(path) ? path : "/";
}
