/** Words of the straight way to a relay that listens: `cerver relay --listen`, and `P69_BASE_URL` of a gateway. */

/** Where a relay listens unless told otherwise (contract section 5). */
export const DIRECT_PORT = 18_081;

/** Answers without a token whether something is there. */
export const HEALTH_PATH = "/health";

/**
 * Names a request, so that its asker can end it with `DELETE` {@link CALLS_PATH}`/:id`. Of a request with a name a connection
 * that breaks is no hang-up: its asker may come back. Without one it is.
 */
export const CALL_HEADER = "x-cerver-call";
export const CALLS_PATH = "/api/cerver/calls";
export const CALL_ID = /^[A-Za-z0-9_-]{8,64}$/;
