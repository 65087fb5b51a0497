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

async function readJson(c: Context): Promise<unknown> {
  const text = await readText(c.req.raw);
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

async function readText(request: Request): Promise<string> {
  const length = request.headers.get("content-length");
  if (length !== null) {
    if (Number(length) > MAX_BODY_BYTES) throw tooLarge();
    return request.text();
  }
  if (!request.body) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function tooLarge(): CerverError {
  return new CerverError("too_large", `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`, {
    hint: "Send less at once; large data belongs in a file of the sandbox.",
  });
}
