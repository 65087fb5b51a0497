import { z } from "zod";
import { ApiInfo, Health } from "../../../../protocol/answers.js";
import type { Theme } from "../operation.js";

export const meta: Theme = {
  name: "Meta",
  description: "What is served here. None of these asks for a token.",
  operations: [
    {
      id: "getApiInfo",
      method: "get",
      path: "/",
      summary: "What this is, and every endpoint in one line each",
      description: "For `Accept: application/json`. A browser gets the gateway's page.",
      scope: "none",
      answers: { 200: { what: "The list.", json: ApiInfo } },
    },
    {
      id: "getHealth",
      method: "get",
      path: "/health",
      summary: "Whether the gateway is up",
      scope: "none",
      answers: { 200: { what: "It is.", json: Health } },
    },
    ...(["/openapi.json", "/v2/docs"] as const).map((path) => ({
      id: path === "/v2/docs" ? "getDocs" : "getOpenApi",
      method: "get" as const,
      path,
      summary: "This document",
      scope: "none" as const,
      answers: { 200: { what: "OpenAPI 3.1.", json: z.looseObject({ openapi: z.string() }) } },
    })),
  ],
};
