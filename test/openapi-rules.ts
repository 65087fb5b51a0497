import { Ajv2020 } from "ajv/dist/2020.js";
import type { ApiDocument } from "../src/gateway/http/openapi/document.js";

type Json = { [key: string]: any };

/** Every object of a document, however deep. */
export function everyObject(value: unknown): Json[] {
  if (Array.isArray(value)) return value.flatMap(everyObject);
  if (typeof value !== "object" || value === null) return [];
  return [value as Json, ...Object.values(value).flatMap(everyObject)];
}

/** What a JSON pointer of the document leads to. */
export function lookUp(document: unknown, ref: string): any {
  if (!ref.startsWith("#/")) return undefined;
  return ref
    .slice(2)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((at: any, part) => at?.[part], document);
}

/** Where a document breaks a rule of OpenAPI 3.1.1 (the sections are its own), in words. */
export function documentErrors(document: ApiDocument): string[] {
  const errors: string[] = [];
  const ids = new Set<string>();
  const used = new Set<string>();
  const refuseUnknown = (at: string, object: Json, known: readonly string[]) => {
    for (const key of Object.keys(object))
      if (!known.includes(key) && !key.startsWith("x-")) errors.push(`${at} has no field ${key}`);
  };

  for (const { $ref } of everyObject(document)) {
    if (typeof $ref !== "string") continue;
    used.add($ref);
    if (lookUp(document, $ref) === undefined) errors.push(`${$ref} leads nowhere`);
  }
  for (const [kind, named] of Object.entries(document.components)) {
    for (const name of Object.keys(named as object)) {
      if (!/^[a-zA-Z0-9._-]+$/.test(name)) errors.push(`${kind}/${name} is no name (4.8.7)`);
      if (kind !== "securitySchemes" && !used.has(`#/components/${kind}/${name}`))
        errors.push(`${kind}/${name} is used by nobody`);
    }
  }
  const shapes = new Set<string>();
  for (const [path, operations] of Object.entries(document.paths)) {
    if (!path.startsWith("/")) errors.push(`${path} does not begin with a slash (4.8.8)`);
    const shape = path.replace(/\{\w+\}/g, "{}");
    if (shapes.has(shape)) errors.push(`${path} is there twice (4.8.8.2)`);
    shapes.add(shape);
    refuseUnknown(path, operations, ["get", "put", "post", "delete", "patch"]);
    for (const [method, operation] of Object.entries(operations)) {
      const at = `${method} ${path}`;
      refuseUnknown(at, operation, [
        "tags",
        "summary",
        "description",
        "operationId",
        "parameters",
        "requestBody",
        "responses",
        "security",
      ]);
      if (ids.has(operation.operationId))
        errors.push(`${operation.operationId} names two operations (4.8.10)`);
      ids.add(operation.operationId);
      const tags = document.tags.map(({ name }) => name);
      for (const tag of operation.tags) if (!tags.includes(tag)) errors.push(`${at}: no tag ${tag}`);
      for (const requirement of operation.security)
        for (const scheme of Object.keys(requirement))
          if (!lookUp(document, `#/components/securitySchemes/${scheme}`))
            errors.push(`${at}: no scheme ${scheme}`);

      const parameters = (operation.parameters ?? []) as Json[];
      for (const parameter of parameters) {
        refuseUnknown(at, parameter, ["name", "in", "description", "required", "schema", "style", "explode"]);
        if (!["path", "query", "header"].includes(parameter.in)) errors.push(`${at}: in ${parameter.in}`);
      }
      const keys = parameters.map(({ in: where, name }) => `${where} ${name}`);
      if (new Set(keys).size !== keys.length) errors.push(`${at} has a parameter twice (4.8.10)`);
      const inPath = parameters.filter((one) => one.in === "path");
      if (inPath.some(({ required }) => required !== true))
        errors.push(`${at}: path parameters are required`);
      const templated = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      if (templated.join() !== inPath.map(({ name }) => name).join())
        errors.push(`${at}: path parameters differ`);

      const bodies = [operation.requestBody, ...Object.values(operation.responses)].filter(Boolean) as Json[];
      if (method === "get" && operation.requestBody) errors.push(`${at} has a body`);
      for (const { content = {} } of bodies)
        for (const [type, media] of Object.entries(content as Json)) {
          if (!/^\w+\/[\w.+-]+$/.test(type)) errors.push(`${at}: ${type} is no media type`);
          refuseUnknown(`${at} ${type}`, media, ["schema", "example", "examples"]);
        }
      for (const [status, response] of Object.entries(operation.responses) as [string, Json][]) {
        if (!/^(?:[1-5]\d\d|default)$/.test(status)) errors.push(`${at}: ${status} is no status (4.8.16)`);
        const resolved = response.$ref ? lookUp(document, response.$ref) : response;
        if (typeof resolved?.description !== "string") errors.push(`${at} ${status} has no description`);
        refuseUnknown(`${at} ${status}`, resolved ?? {}, ["description", "headers", "content"]);
      }
      if (!Object.keys(operation.responses).some((status) => /^[123]/.test(status)))
        errors.push(`${at} never succeeds`);
    }
  }

  const ajv = newAjv(document);
  for (const [name, schema] of Object.entries(allSchemas(document))) {
    if (!ajv.validateSchema(schema)) errors.push(`${name}: ${ajv.errorsText(ajv.errors)}`);
  }
  return errors;
}

function allSchemas(document: ApiDocument): Record<string, Json> {
  const found: Record<string, Json> = { ...document.components.schemas };
  for (const object of everyObject(document.paths))
    if (typeof object.schema === "object") found[`schema ${Object.keys(found).length}`] = object.schema;
  return found;
}

/** A validator that knows the document, so that its references lead somewhere. */
export function newAjv(document: unknown): Ajv2020 {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  ajv.addSchema({ $id: "https://cerver.example/openapi.json", ...(document as object) });
  return ajv;
}
