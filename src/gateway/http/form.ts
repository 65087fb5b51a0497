import type { Context } from "hono";
import { readBody } from "./validate.js";

const MAX_FORM_BYTES = 16 * 1024;

/** The fields of a form that was sent as `application/x-www-form-urlencoded`, up to 16 KiB. */
export async function readForm(c: Context): Promise<URLSearchParams> {
  return new URLSearchParams((await readBody(c, MAX_FORM_BYTES)).toString("utf8"));
}
