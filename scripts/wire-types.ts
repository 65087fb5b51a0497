// TypeScript for the schemas of the OpenAPI document: plain types that need no library, for those who use `cerver/client`.
type Schema = { [keyword: string]: any };

/** One exported type a schema, in a file of its own. */
export function wireTypes(schemas: Record<string, Schema>): string {
  const types = Object.entries(schemas).map(
    ([name, schema]) => `${comment(schema)}export type ${name} = ${typeOf(schema)};\n`,
  );
  return `// Written by \`npm run docs\` from the schemas in src/protocol. What crosses the wire, as plain types.\n\n${types.join("\n")}`;
}

function typeOf(schema: Schema): string {
  const { $ref, const: only, enum: words, anyOf, oneOf, type } = schema;
  if ($ref) return $ref.split("/").at(-1);
  if (only !== undefined) return JSON.stringify(only);
  if (words) return union(words.map((word: unknown) => JSON.stringify(word)));
  if (anyOf ?? oneOf) return union((anyOf ?? oneOf).map(typeOf));
  if (Array.isArray(type)) return union(type.map((one) => typeOf({ ...schema, type: one })));
  switch (type) {
    case "array":
      return `(${typeOf(schema.items ?? {})})[]`;
    case "object":
      return objectOf(schema);
    case "integer":
    case "number":
      return "number";
    case "string":
    case "boolean":
    case "null":
      return type;
    case undefined:
      return "unknown";
    default:
      throw new Error(`no type for ${JSON.stringify(schema)}`);
  }
}

function objectOf({ properties, required = [], additionalProperties, propertyNames }: Schema): string {
  if (properties === undefined) {
    const key = propertyNames?.enum ? typeOf({ enum: propertyNames.enum }) : "string";
    return `Record<${key}, ${typeOf(additionalProperties ?? {})}>`;
  }
  const fields = Object.entries<Schema>(properties).map(([name, schema]) => {
    const type = typeOf(schema);
    const optional = !required.includes(name);
    return `${comment(schema)}${/^\w+$/.test(name) ? name : JSON.stringify(name)}${optional ? "?" : ""}: ${type}${optional && type !== "unknown" ? " | undefined" : ""};`;
  });
  return `{\n${fields.join("\n")}\n}`;
}

function union(types: string[]): string {
  return [...new Set(types)].join(" | ");
}

function comment({ description }: Schema): string {
  return typeof description === "string" ? `/** ${description.replaceAll("*/", "*\\/")} */\n` : "";
}
