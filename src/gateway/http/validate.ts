import type { HttpBindings } from "@hono/node-server";
import type { Context, MiddlewareHandler, ValidationTargets } from "hono";
import { validator } from "hono/validator";
import type { z } from "zod";
import { CerverError } from "../../protocol/errors.js";
import { parse } from "../../protocol/parse.js";

/** The largest JSON body that is read, in bytes. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** Reads the JSON body by a schema: `c.req.valid("json")`. An absent body counts as `{}`. */
export function json<S extends z.ZodType>(schema: S): MiddlewareHandler<object, string, JsonInput<S>> {
  return async (c, next) => {
    const value = parse(schema, await readJson(c));
    c.req.addValidatedData("json", value as ValidationTargets["json"]);
    await next();
  };
}
interface JsonInput<S extends z.ZodType> {
  in: { json: z.input<S> };
  out: { json: z.output<S> };
}

/** Reads the query string by a schema: `c.req.valid("query")`. */
export function query<S extends z.ZodType>(schema: S) {
  return validator("query", (value): z.output<S> => parse(schema, value));
}

/** The `Idempotency-Key` of a request, if it has one (draft-ietf-httpapi-idempotency-key-header-07). */
export function idempotencyKey(c: Context): string | undefined {
  const key = c.req.header("idempotency-key");
  if (key === undefined || /^[\x20-\x7e]{1,255}$/.test(key)) return key;
  throw new CerverError(
    "invalid_request",
    "Idempotency-Key: it has to be 1 to 255 printable ASCII characters.",
    {
      hint: "A UUID does well.",
    },
  );
}

/** The body as bytes, whatever its type. */
export async function readBody(c: Context, limit: number): Promise<Buffer> {
  return readBytes(c, limit);
}

async function readJson(c: Context): Promise<unknown> {
  const text = await readText(c);
  if (text === "") return {};
  // A web page can send other types to a local server without asking; JSON it cannot.
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(c.req.header("content-type") ?? "")) {
    throw new CerverError("unsupported_media_type", "The body has to be JSON.", {
      hint: 'Send the header "Content-Type: application/json".',
    });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CerverError("invalid_request", `The body is not JSON: ${(error as Error).message}.`, {
      hint: "Check quotes and commas; a shell may have taken some of them away.",
    });
  }
}

/** The body as Node's server has it: a web stream around it would cost more than all the rest of a small request. */
async function readText(c: Context): Promise<string> {
  return (await readBytes(c, MAX_BODY_BYTES)).toString("utf8");
}

async function readBytes(c: Context, limit: number): Promise<Buffer> {
  const { incoming } = c.env as HttpBindings;
  if (Number(incoming.headers["content-length"] ?? 0) > limit) throw tooLarge(limit);
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const gone = () =>
      reject(new CerverError("timed_out", "The caller went away before the body was complete."));
    if (incoming.destroyed) return gone();
    incoming.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) reject(tooLarge(limit));
      else chunks.push(chunk);
    });
    incoming.once("end", () => {
      incoming.off("close", gone);
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    incoming.once("close", gone);
    incoming.once("error", reject);
  });
}

function tooLarge(limit: number): CerverError {
  return new CerverError("too_large", `The body is larger than ${Math.floor(limit / 1024 / 1024)} MiB.`, {
    hint: "Send less at once; large data belongs in a file of the sandbox.",
  });
}
