/** The longest script text a run takes, in characters. */
export const MAX_CODE_LENGTH = 1_000_000;
/** The longest input a run takes, in characters. */
export const MAX_STDIN_LENGTH = 8_000_000;
/** Output kept inline in a `run` answer, per stream, in bytes: half from the head, half from the tail. */
export const MAX_INLINE_OUTPUT_BYTES = 1_048_576;
/** How long a background run may take when nobody says otherwise, in seconds; a foreground run has {@link DEFAULT_TIMEOUT}. */
export const DEFAULT_BACKGROUND_TIMEOUT = 3600;
export const DEFAULT_TIMEOUT = 30;
/** How long a foreground run goes on without its caller when a link broke, and how long a caller waits for the link. */
export const DEFAULT_GRACE_MS = 30_000;
/** The exit code of a run that was ended by its timeout, as `timeout(1)` reports it. */
export const TIMEOUT_EXIT_CODE = 124;
