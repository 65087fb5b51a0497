import type { ApiInfo } from "../../../protocol/answers.js";
import type { ApiDocument } from "./document.js";

/** The document in short: every endpoint in one line. */
export function apiInfo({ info, paths }: ApiDocument): ApiInfo {
  return {
    service: "cerver-gateway",
    version: info.version,
    openapi: "/openapi.json",
    endpoints: Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, { summary }]) => ({
        method: method.toUpperCase(),
        path,
        summary,
      })),
    ),
  };
}
