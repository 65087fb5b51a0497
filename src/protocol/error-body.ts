import { z } from "zod";
import { ERRORS, type ErrorCode } from "./errors.js";

/** The JSON object that every failed request answers with. */
export const ErrorBody = z
  .looseObject({
    error: z.string().describe("What happened, as a sentence."),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]).describe("The same, for programs."),
    hint: z.string().optional().describe("What to do next, as a sentence or a command."),
    retryable: z.boolean().optional().describe("The same request may be sent again: nothing was done."),
    request_id: z.string().optional().describe("Under this id the gateway's log has more."),
  })
  .meta({ id: "ErrorBody" });
