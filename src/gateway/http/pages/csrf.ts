import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Context } from "hono";
import { getCookie } from "hono/cookie";
import { isSameOrigin, SIGNIN_COOKIE } from "../auth.js";

/** The forms of a gateway without tokens, where no browser signs in. */
const WITHOUT_SIGNIN = randomBytes(32);

/** Ties a form to the sign-in that it was shown to and to what it is about, whichever gateway it comes back to. */
export function csrfToken(c: Context, about: string): string {
  return createHmac("sha256", getCookie(c, SIGNIN_COOKIE) ?? WITHOUT_SIGNIN)
    .update(`csrf ${about}`)
    .digest("hex");
}

/** Whether a form was sent by our own page, to this sign-in, about this. */
export function isOwnForm(c: Context, about: string, given: unknown): boolean {
  const wanted = Buffer.from(csrfToken(c, about));
  const got = Buffer.from(String(given ?? ""));
  return isSameOrigin(c) && got.length === wanted.length && timingSafeEqual(got, wanted);
}
