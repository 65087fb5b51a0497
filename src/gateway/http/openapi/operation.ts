import type { z } from "zod";
import type { ErrorCode } from "../../../protocol/errors.js";
import type { Scope } from "../../../protocol/scopes.js";
import type { AnswerHeader, RequestHeader } from "./headers.js";

/** One operation of the HTTP API, as the document tells it. */
export interface Operation {
  /** Its name in generated clients. */
  id: string;
  method: "get" | "post" | "put" | "patch" | "delete";
  /** As OpenAPI writes it, such as `/v2/sessions/{session_id}`. */
  path: string;
  summary: string;
  description?: string;
  /** The scopes of which a token needs one; `any` token at all; `none` is open to everybody. */
  scope: Scope | readonly Scope[] | "any" | "none";
  query?: z.ZodObject;
  /** Parameters that a schema of fixed names cannot tell. */
  moreQuery?: readonly { name: string; description: string }[];
  headers?: readonly RequestHeader[];
  body?: Body;
  answers: Readonly<Record<number, Answer>>;
  /** Failures beyond those that every operation of its kind has. */
  errors?: readonly ErrorCode[];
}

export interface Body {
  json: z.ZodType;
  /** An absent body counts as `{}`. @default true */
  optional?: boolean;
  /** Any other type is the input itself. */
  bytes?: boolean;
}

export interface Answer {
  what: string;
  json?: z.ZodType;
  /** The `data` of each server-sent event. */
  events?: z.ZodType;
  /** Each line. */
  lines?: z.ZodType;
  bytes?: boolean;
  /** Media types of texts. */
  texts?: readonly string[];
  headers?: readonly AnswerHeader[];
}

export interface Theme {
  name: string;
  description: string;
  operations: readonly Operation[];
}
