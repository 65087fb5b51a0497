import { z } from "zod";
import { NAMES } from "./names.js";

export type JsonSchema = { [keyword: string]: unknown };

/** zod writes these bounds for every integer; they say nothing. */
const SAFE = { minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER } as const;

/** The document's shared schemas. Each is written when it is first referred to. */
export class Components {
  readonly #schemas = new Map<string, JsonSchema>();

  constructor() {
    for (const [id, schema] of Object.entries(NAMES))
      z.globalRegistry.add(schema, { ...z.globalRegistry.get(schema), id });
  }

  /** What a caller may send. */
  input(schema: z.ZodType): JsonSchema {
    return this.#take(schema, "input");
  }

  /** What an answer looks like. It may have more fields in a later version. */
  output(schema: z.ZodType): JsonSchema {
    return this.#take(schema, "output");
  }

  /** All of them, by name. */
  all(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #take(schema: z.ZodType, io: "input" | "output"): JsonSchema {
    const written = z.toJSONSchema(schema, {
      io,
      unrepresentable: "any",
      override: ({ jsonSchema }) => tidy(jsonSchema as JsonSchema, io),
    }) as JsonSchema;
    const {
      $schema: _,
      $defs = {},
      ...root
    } = pointAtComponents(written) as JsonSchema & {
      $defs?: Record<string, JsonSchema>;
    };
    for (const [name, one] of Object.entries($defs)) this.#add(name, one);
    return root;
  }

  #add(name: string, schema: JsonSchema): void {
    const { id: _, ...rest } = schema;
    const known = this.#schemas.get(name);
    if (known && JSON.stringify(known) !== JSON.stringify(rest))
      throw new Error(`${name} reads differently as a request and as an answer: it needs two names`);
    this.#schemas.set(name, rest);
  }
}

function tidy(schema: JsonSchema, io: "input" | "output"): void {
  for (const [bound, value] of Object.entries(SAFE)) if (schema[bound] === value) delete schema[bound];
  if (schema.properties === undefined) return;
  const { additionalProperties: more } = schema;
  const open = typeof more === "object" && more !== null && Object.keys(more).length === 0;
  if (open || io === "output") delete schema.additionalProperties;
}

function pointAtComponents(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(pointAtComponents);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      key === "$ref" && typeof one === "string"
        ? one.replace("#/$defs/", "#/components/schemas/")
        : pointAtComponents(one),
    ]),
  );
}
