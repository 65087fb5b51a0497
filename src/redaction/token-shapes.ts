import { ANCHOR_BYTES, MORE, markerOf, NO, type Pattern } from "./pattern.js";

/** Bytes of a kind, so many of them, as many as there are. `unless` is what they must not be as a whole. */
interface Some {
  of: Uint8Array;
  min: number;
  max: number;
  unless?: RegExp;
}
/** A text, one of several, or some bytes of a kind. */
type Step = string | readonly string[] | Some;

interface Shape {
  name: string;
  steps: readonly [string, ...Step[]];
  tail?: Uint8Array;
  isWord?: boolean;
  /** What is taken out begins after so many steps, and ends before the last `ahead` bytes. */
  keptSteps?: number;
  ahead?: number;
}

const ALNUM = bytesOf(/[A-Za-z0-9]/);
const WORD = bytesOf(/[\w]/);
const DASHED = bytesOf(/[\w-]/);
const HEX = bytesOf(/[0-9a-f]/);
const UPPER = bytesOf(/[A-Z0-9]/);
const BASE64 = bytesOf(/[A-Za-z0-9+/=]/);
const DOTTED = bytesOf(/[\w.-]/);

/** Tokens that say by their beginning what they are, with what follows in their alphabet. */
const PREFIXED: [name: string, prefixes: string[], of: Uint8Array, min: number, isWord?: boolean][] = [
  ["cerver-token", ["ck_"], ALNUM, 40],
  ["cerver-token", ["p69_"], DASHED, 40],
  ["cerver-token", ["cr_"], DOTTED, 80],
  ["github-token", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], ALNUM, 36],
  ["github-token", ["github_pat_"], WORD, 40],
  ["anthropic-key", ["sk-ant-"], DASHED, 20],
  ["openai-key", ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-v1-"], DASHED, 20],
  ["api-key", ["sk-"], ALNUM, 32, true],
  ["stripe-key", ["sk_live_", "sk_test_", "rk_live_", "rk_test_"], ALNUM, 16],
  ["webhook-secret", ["whsec_"], BASE64, 24],
  ["slack-token", ["xoxb-", "xoxa-", "xoxp-", "xoxr-", "xoxs-", "xoxe-", "xapp-"], DASHED, 20],
  ["aws-key-id", ["AKIA", "ASIA"], UPPER, 16, true],
  ["google-key", ["AIza"], DASHED, 35, true],
  ["google-secret", ["GOCSPX-"], DASHED, 24],
  ["google-token", ["ya29."], DASHED, 30, true],
  ["gitlab-token", ["glpat-", "gldt-", "glrt-"], DASHED, 20],
  ["npm-token", ["npm_"], ALNUM, 36],
  ["pypi-token", ["pypi-AgE"], DASHED, 40],
  ["e2b-key", ["e2b_"], HEX, 40],
  ["vercel-token", ["vcp_", "vci_", "vca_", "vcr_", "vck_"], ALNUM, 24, true],
  ["vercel-token", ["vercel_blob_rw_"], WORD, 30],
  ["huggingface-token", ["hf_"], ALNUM, 34, true],
  ["digitalocean-token", ["dop_v1_", "doo_v1_"], HEX, 64],
  ["onepassword-token", ["ops_eyJ"], DASHED, 60],
  ["shopify-token", ["shpat_", "shpss_", "shpca_"], HEX, 32],
];

/** Bounds of what is looked at before it is certain, in bytes. */
const MAX_JWT_HEAD = 512;
const MAX_USER = 64;
const MAX_PASSWORD = 256;
const KEY_KINDS = ["", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "];
/** Between the first line of a key and its text. */
const LINE_END = bytesOf(/[\s\\nr]/);
/** How an encrypted key goes on (RFC 1421), and one of PGP (RFC 9580). */
const KEY_HEADERS = ["Proc-Type: ", "DEK-Info: ", "Version: ", "Comment: ", "Hash: ", "Charset: "];
/** Headers and what follows them at once: their `-` and `,` are in no key's text. */
const HEADER = bytesOf(/[\x20-\x7e\s]/);
const KEY_TEXT = bytesOf(/[A-Za-z0-9+/=\s\\]/);
/** What stands where a password would: a variable of a shell, stars, a place of a format. */
const PLACEHOLDER = /^(?:[:)\\].*|\$\w*|\$\([^)]*\)|\*+|%|%[sdvq]|%\w+%|%\(\w+\)[sd]|\?+|#\w*|\(\w*\)?)$/;

const SHAPES: Shape[] = [
  ...PREFIXED.flatMap(([name, prefixes, of, min, isWord = false]) =>
    prefixes.map((prefix): Shape => ({ name, steps: [prefix, some(of, min)], tail: of, isWord })),
  ),
  {
    name: "jwt",
    steps: ["eyJ", some(DASHED, 8, MAX_JWT_HEAD), ".eyJ", some(DASHED, 8)],
    tail: DOTTED,
  },
  {
    name: "infisical-token",
    steps: ["st.", some(bytesOf(/[0-9a-f-]/), 24, 36), ".", some(HEX, 32)],
    tail: bytesOf(/[0-9a-f.]/),
    isWord: true,
  },
  {
    name: "sendgrid-key",
    steps: ["SG.", some(DASHED, 22, 22), ".", some(DASHED, 43)],
    tail: DASHED,
    isWord: true,
  },
  {
    name: "private-key",
    steps: [
      "BEGIN ",
      KEY_KINDS.map((kind) => `${kind}PRIVATE KEY-----`),
      some(LINE_END, 1, 8),
      some(BASE64, 32),
    ],
    keptSteps: 2,
    tail: KEY_TEXT,
  },
  {
    name: "private-key",
    steps: [
      "BEGIN ",
      [...KEY_KINDS.map((kind) => `${kind}PRIVATE KEY-----`), "PGP PRIVATE KEY BLOCK-----"],
      some(LINE_END, 1, 8),
      KEY_HEADERS,
      some(HEADER, 96, 160),
    ],
    keptSteps: 2,
    tail: KEY_TEXT,
  },
  {
    name: "password",
    steps: [
      "://",
      some(bytesOf(/[^\s/:@"'`<>[\]{}$()]/), 0, MAX_USER),
      ":",
      { ...some(bytesOf(/[^\s/@"'`<>[\]{}]/), 1, MAX_PASSWORD), unless: PLACEHOLDER },
      "@",
    ],
    keptSteps: 3,
    ahead: 1,
  },
];

/** Finds the well-known shapes of credentials, whatever their value. */
export function shapePatterns(): Pattern[] {
  return SHAPES.map(({ name, steps, keptSteps, ...rest }) => {
    const compiled = steps.map(compile);
    const kept = compiled.slice(0, keptSteps);
    return {
      ...rest,
      marker: markerOf(name),
      anchors: [steps[0].slice(0, ANCHOR_BYTES)],
      read: (text, at) => readSteps(compiled, text, at),
      ...(keptSteps !== undefined && { cutFrom: (text, at) => readSteps(kept, text, at) }),
    };
  });
}

function some(of: Uint8Array, min: number, max = min): Some {
  return { of, min, max };
}

function bytesOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => Number(pattern.test(String.fromCharCode(byte))));
}

type CompiledStep = Some | Buffer[];

function compile(step: Step): CompiledStep {
  if (typeof step === "string") return [Buffer.from(step)];
  return "of" in step ? step : step.map((one) => Buffer.from(one));
}

function readSteps(steps: readonly CompiledStep[], text: Buffer, at: number): number {
  for (const step of steps) {
    const next = "of" in step ? readSome(step, text, at) : readOne(step, text, at);
    if (next < 0) return next;
    at = next;
  }
  return at;
}

function readSome({ of, min, max, unless }: Some, text: Buffer, at: number): number {
  const most = at + max;
  let end = at;
  while (end < most && end < text.length && of[text[end]!] === 1) end++;
  if (end === text.length && end < most) return MORE;
  return end - at < min || unless?.test(text.toString("latin1", at, end)) ? NO : end;
}

function readOne(texts: readonly Buffer[], text: Buffer, at: number): number {
  let answer = NO;
  for (const one of texts) {
    const common = Math.min(one.length, text.length - at);
    let same = 0;
    while (same < common && text[at + same] === one[same]) same++;
    if (same === one.length) return at + same;
    if (same === common && common < one.length) answer = MORE;
  }
  return answer;
}
