import { CerverError } from "../protocol/errors.js";
import type { Logger } from "../util/logger.js";
import type { Serve } from "./wire.js";

/** Asks `serve`; whatever it throws becomes a response, and only what was meant for callers reaches them. */
export async function respond(serve: Serve, request: Request, logger: Logger): Promise<Response> {
  try {
    return await serve(request);
  } catch (error) {
    if (error instanceof CerverError) return errorResponse(error);
    logger.error({ err: error, method: request.method }, "a request through the tunnel failed");
    return errorResponse(
      new CerverError("internal", "Something went wrong on the relay. Its log says what."),
    );
  }
}

export function errorResponse(error: CerverError): Response {
  return Response.json(error.toBody(), { status: error.status });
}

/** Statuses whose responses have no body (Fetch standard, section 2.2.3). */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}
