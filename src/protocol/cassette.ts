import { z } from "zod";
import { ERRORS, type ErrorCode } from "./errors.js";
import { PROVIDER_NAMES } from "./providers.js";

/**
 * A cassette: what a provider's adapter was asked, what it answered, and how long that took, as lines of JSON.
 *
 * The first line is a {@link CassetteHeader}, each other one a {@link CassetteCall} or a {@link CassetteFound}, in any
 * order. Ids are written as {@link SANDBOX_MARK} and its like; no line holds a credential or the value of a variable.
 */
export const CASSETTE_VERSION = 1;
/** The longest cassette, in bytes and in calls. */
export const MAX_CASSETTE_BYTES = 32 * 1024 * 1024;
export const MAX_CASSETTE_CALLS = 50_000;
/** The longest answer that is kept, in bytes. Of a longer one only the timing is. */
export const MAX_KEPT_ANSWER_BYTES = 256 * 1024;
/** How much of a command is kept for people to read, in characters. */
export const MAX_ASKED_LENGTH = 200;

/** What stands in a cassette for ids, which are other ones each time. */
export const SANDBOX_MARK = "{{sandbox}}";
export const RUN_MARK = "{{run}}";
export const COMPUTE_MARK = "{{compute}}";

/** The nine operations of the contract, and what a cloud vendor's adapter can do beyond it. */
export const CASSETTE_OPERATIONS = [
  "createSandbox",
  "runSandbox",
  "runSandboxStream",
  "installPackage",
  "writeFile",
  "readFile",
  "getState",
  "setState",
  "deleteSandbox",
  "cloud.verify",
  "cloud.find",
  "cloud.portUrl",
  "cloud.suspend",
  "cloud.wake",
] as const;
export const CassetteOperation = z.enum(CASSETTE_OPERATIONS);
export type CassetteOperation = z.infer<typeof CassetteOperation>;

const Milliseconds = z.number().min(0).max(1e12);
const Instant = z.iso.datetime({ offset: true });

/** The first line. */
export const CassetteHeader = z.strictObject({
  kind: z.literal("cassette"),
  version: z.literal(CASSETTE_VERSION),
  provider: z.enum(PROVIDER_NAMES).describe("The provider whose adapter was recorded."),
  made: z.enum(["recorded", "generated"]).describe("From real calls, or written by a program."),
  recorded_at: Instant,
  clock: z.strictObject({
    starts_at: Instant.describe("The time of day at which `at_ms` is 0."),
    duration_ms: Milliseconds.optional().describe("How long the tape is; until its last call unless said."),
  }),
  price: z
    .strictObject({ usd_per_hour: z.number().min(0), usd_per_create: z.number().min(0) })
    .optional()
    .describe("What rehearsing is to cost. Nothing, unless said."),
  note: z.string().max(500).optional().describe("What is on it, for people."),
});
export type CassetteHeader = z.infer<typeof CassetteHeader>;

/** A piece of a stream, that many milliseconds after the call began. */
export const CassetteChunk = z
  .strictObject({ after_ms: Milliseconds, text: z.string().optional(), base64: z.base64().optional() })
  .refine(
    ({ text, base64 }) => (text === undefined) !== (base64 === undefined),
    "holds either text or base64",
  );
export type CassetteChunk = z.infer<typeof CassetteChunk>;

export const CassetteOutcome = z.discriminatedUnion("kind", [
  z
    .strictObject({
      kind: z.literal("done"),
      id_length: z.number().int().min(1).max(256).optional(),
      value: z.string().max(4096).optional(),
    })
    .describe("It gave what is no response: a sandbox, whose id was this long; an address; or nothing."),
  z.strictObject({
    kind: z.literal("answer"),
    status: z.number().int().min(200).max(399),
    type: z.string().max(200).describe("Its content type."),
    body: z.string(),
  }),
  z.strictObject({
    kind: z.literal("stream"),
    status: z.number().int().min(200).max(399),
    type: z.string().max(200),
    head_ms: Milliseconds.describe("Until the response was there, and not yet its body."),
    chunks: z.array(CassetteChunk).max(10_000),
    end: z.enum(["closed", "broken", "left"]).describe("`left`: by its caller, so nobody knows its end."),
  }),
  z.strictObject({
    kind: z.literal("error"),
    thrown: z.boolean().describe("Thrown, or a response with a status from 400 on."),
    code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
    message: z.string().min(1).max(2000),
    hint: z.string().max(2000).optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
  z
    .strictObject({ kind: z.literal("unanswered"), why: z.enum(["left", "timeout"]) })
    .describe("No answer came until the caller left, or until its time was over."),
  z
    .strictObject({
      kind: z.literal("omitted"),
      why: z.enum(["too_large", "secret"]),
      first_byte_ms: Milliseconds.optional(),
    })
    .describe("It succeeded; the answer itself is not kept."),
]);
export type CassetteOutcome = z.infer<typeof CassetteOutcome>;

/** One call. */
export const CassetteCall = z.strictObject({
  kind: z.literal("call"),
  n: z.number().int().min(0).describe("Its number on this cassette."),
  operation: CassetteOperation,
  key: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .describe("What was asked, hashed: the same question has the same key."),
  asked: z.string().max(MAX_ASKED_LENGTH).optional().describe("The same for people: a command, a path."),
  sandbox: z.number().int().min(0).optional().describe("Which sandbox of this cassette it was about."),
  at_ms: Milliseconds.describe("When it began, since the tape began."),
  took_ms: Milliseconds.describe("Until it was over: of a stream until its end."),
  outcome: CassetteOutcome,
});
export type CassetteCall = z.infer<typeof CassetteCall>;

/** The create with that number failed for its caller, and yet its sandbox was found later: its answer was lost. */
export const CassetteFound = z.strictObject({ kind: z.literal("found"), call: z.number().int().min(0) });

export const CassetteLine = z.discriminatedUnion("kind", [CassetteHeader, CassetteCall, CassetteFound]);
export type CassetteLine = z.infer<typeof CassetteLine>;
