import type { z } from "zod";
import { ErrorBody } from "../../../protocol/error-body.js";
import { ERRORS, type ErrorCode } from "../../../protocol/errors.js";
import { Components, type JsonSchema } from "./components.js";
import { ANSWER_HEADERS, type AnswerHeader, REQUEST_HEADERS } from "./headers.js";
import type { Answer, Body, Operation } from "./operation.js";
import { THEMES } from "./themes.js";

const ABOUT = `Apps use sessions; providers supply compute.

Everything under \`/v2\` is also served under \`/gateway\`, by the same handlers, \`/v2/auth\`, \`/v2/docs\` and \`/v2/connect\`
aside. Requests and answers are JSON in snake_case; a session that is read by GET is in camelCase. Times are RFC 3339.
Answers may gain fields. Every failure is an \`ErrorBody\`: its \`code\` is from a closed table, its \`hint\` says what to do next.`;

/** The OpenAPI 3.1 document, written from the schemas that requests are read by. */
export interface ApiDocument {
  openapi: "3.1.1";
  info: { title: string; version: string; summary: string; description: string };
  servers: { url: string; description: string }[];
  security: Record<string, string[]>[];
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, DocumentedOperation>>;
  components: { schemas: Record<string, JsonSchema>; [kind: string]: unknown };
}

export interface DocumentedOperation {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  security: Record<string, string[]>[];
  parameters?: JsonSchema[];
  requestBody?: JsonSchema;
  responses: Record<string, DocumentedResponse | { $ref: string }>;
}

interface DocumentedResponse {
  description: string;
  headers?: Record<string, JsonSchema>;
  content?: Record<string, { schema: JsonSchema; [extension: `x-${string}`]: unknown }>;
}

export function apiDocument(version: string): ApiDocument {
  const components = new Components();
  const paths: ApiDocument["paths"] = {};
  for (const { name, operations } of THEMES) {
    for (const operation of operations) {
      paths[operation.path] ??= {};
      paths[operation.path]![operation.method] = documented(operation, name, components);
    }
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "cerver gateway",
      version,
      summary: "Sessions with a transcript, on computes that a router chooses.",
      description: ABOUT,
    },
    servers: [{ url: "/", description: "The gateway that serves this document." }],
    security: [{ token: [] }],
    tags: THEMES.map(({ name, description }) => ({ name, description })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description:
            "A token `ck_…`: `cerver login` gets one, `cerver up` prints one. Scopes: admin includes run, run includes read, nothing includes relay.",
        },
        page: {
          type: "apiKey",
          in: "cookie",
          name: "cerver_signin",
          description: "The sign-in of the gateway's own pages.",
        },
      },
      headers: Object.fromEntries(
        Object.entries(ANSWER_HEADERS).map(([name, header]) => [name, { ...header }]),
      ),
      responses: {
        Failure: {
          description: "Any other failure, such as `internal` or `timed_out`.",
          headers: headersOf(["X-Request-Id", "Retry-After"]),
          content: { "application/json": { schema: components.output(ErrorBody) } },
        },
      },
      schemas: components.all(),
    },
  };
}

function documented(operation: Operation, tag: string, components: Components): DocumentedOperation {
  const { id, summary, description, body } = operation;
  const needs = scopesOf(operation);
  const about = [description, needs && `Scope: ${needs.join(" or ")}.`].filter(Boolean).join("\n\n");
  const parameters = parametersOf(operation, components);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(about && { description: about }),
    security: securityOf(operation),
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: bodyOf(body, components) }),
    responses: {
      ...Object.fromEntries(
        Object.entries(operation.answers).map(([status, answer]) => [status, responseOf(answer, components)]),
      ),
      ...failuresOf(operation, components),
    },
  };
}

/** Ways in, one of which is enough; the scopes of a token are its roles (OpenAPI 3.1, section 4.8.30). */
function securityOf(operation: Operation): Record<string, string[]>[] {
  if (operation.scope === "none") return [];
  const tokens = scopesOf(operation)?.map((scope) => ({ token: [scope] })) ?? [{ token: [] }];
  // A relay's link is no business of a page.
  return 101 in operation.answers ? tokens : [...tokens, { page: [] }];
}

function scopesOf({ scope }: Operation): readonly string[] | undefined {
  if (scope === "none" || scope === "any") return undefined;
  return typeof scope === "string" ? [scope] : scope;
}

function parametersOf(
  { path, query, moreQuery = [], headers = [] }: Operation,
  components: Components,
): JsonSchema[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const { properties = {}, required = [] } = (query ? components.input(query) : {}) as {
    properties?: Record<string, JsonSchema>;
    required?: string[];
  };
  const inQuery = Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: "query",
    ...(description !== undefined && { description }),
    ...(required.includes(name) && { required: true }),
    schema,
  }));
  const more = moreQuery.map(({ name, description }) => ({
    name,
    in: "query",
    description,
    style: "form",
    explode: true,
    schema: {
      type: "object",
      propertyNames: { pattern: `^${name}\\..` },
      additionalProperties: { type: "string" },
    },
  }));
  const inHeader = headers.map((name) => ({ name, in: "header", ...REQUEST_HEADERS[name] }));
  return [...inPath, ...inQuery, ...more, ...inHeader];
}

function bodyOf({ json, optional = true, bytes }: Body, components: Components): JsonSchema {
  return {
    required: !optional,
    content: {
      "application/json": { schema: components.input(json) },
      ...(bytes && { "application/octet-stream": { schema: {} } }),
    },
  };
}

function responseOf(answer: Answer, components: Components): DocumentedResponse {
  const { what, json, events, lines, bytes, texts = [], headers = [] } = answer;
  const content = {
    ...(json && { "application/json": { schema: components.output(json) } }),
    ...(events && { "text/event-stream": streamOf("The `data` of each event is", events, components) }),
    ...(lines && { "application/x-ndjson": streamOf("Each line that is not empty is", lines, components) }),
    ...(bytes && { "application/octet-stream": { schema: {} } }),
    ...Object.fromEntries(texts.map((type) => [type, { schema: { type: "string" } }])),
  };
  return {
    description: what,
    headers: headersOf(["X-Request-Id", ...headers]),
    ...(Object.keys(content).length > 0 && { content }),
  };
}

/** OpenAPI 3.1 has no word for the items of a stream (3.2 has); the extension points at their schema. */
function streamOf(words: string, schema: z.ZodType, components: Components) {
  const item = components.output(schema);
  const name = String(item.$ref).split("/").at(-1);
  return { schema: { type: "string", description: `${words} a ${name}.` }, "x-item-schema": item };
}

function headersOf(names: readonly AnswerHeader[]): Record<string, JsonSchema> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** The failures of an operation by status; `default` stands for all that can happen to any request. */
function failuresOf(operation: Operation, components: Components): DocumentedOperation["responses"] {
  const byStatus = byStatusOf(codesOf(operation));
  const content = { "application/json": { schema: components.output(ErrorBody) } };
  const failures = [...byStatus].map(([status, codes]): [string, DocumentedResponse] => [
    String(status),
    {
      description: `${codes.map((code) => `\`${code}\``).join(", ")}.`,
      headers: headersOf([
        "X-Request-Id",
        ...(status === 401 ? (["WWW-Authenticate"] as const) : []),
        ...(status === 429 || status === 503 ? (["Retry-After"] as const) : []),
      ]),
      content,
    },
  ]);
  return { ...Object.fromEntries(failures), default: { $ref: "#/components/responses/Failure" } };
}

function codesOf({ scope, query, body, headers = [], errors = [] }: Operation): ErrorCode[] {
  const read = query || body || headers.includes("Idempotency-Key");
  return [
    ...(read ? (["invalid_request"] as const) : []),
    ...(scope === "none" ? [] : (["unauthenticated"] as const)),
    ...(scope === "none" || scope === "any" ? [] : (["forbidden"] as const)),
    ...errors,
    ...(body ? (["too_large", "unsupported_media_type"] as const) : []),
  ];
}

function byStatusOf(codes: readonly ErrorCode[]): Map<number, ErrorCode[]> {
  const groups = new Map<number, ErrorCode[]>();
  for (const code of new Set(codes)) {
    const { status } = ERRORS[code];
    groups.set(status, [...(groups.get(status) ?? []), code]);
  }
  return groups;
}
