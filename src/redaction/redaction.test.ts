import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Redaction } from "./redaction.js";

const SECRET = `p@ss/w+rd "q" é\\<&'>\n% zz~`;

/** The ways in which a value gets into output. */
const WAYS: Record<string, (value: string) => string> = {
  "as it is": (value) => value,
  JSON: (value) => JSON.stringify({ value }),
  "JSON in JSON": (value) => JSON.stringify(JSON.stringify({ value })),
  "ASCII JSON": (value) =>
    JSON.stringify(value).replace(
      /[^\x20-\x7e]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    ),
  URL: encodeURIComponent,
  "URL, lower case": (value) => encodeURIComponent(value).replace(/%../g, (code) => code.toLowerCase()),
  "URL, every byte": (value) => Buffer.from(value).toString("hex").replace(/../g, "%$&"),
  form: (value) => new URLSearchParams({ value }).toString(),
  hex: (value) => Buffer.from(value).toString("hex"),
  HEX: (value) => Buffer.from(value).toString("hex").toUpperCase(),
  base64: (value) => Buffer.from(value).toString("base64"),
  "base64, one byte before": (value) => Buffer.from(`x${value}y`).toString("base64"),
  "base64, two bytes before": (value) => Buffer.from(`xy${value}z`).toString("base64"),
  base64url: (value) => Buffer.from(`{"t":"${value}"}`).toString("base64url"),
  "base64 in lines": (value) => Buffer.from(value).toString("base64").replace(/.{19}/g, "$&\n"),
};

/** Whether somebody who reads a text gets a value out of it. */
function holds(text: string, value: string): boolean {
  const readings = [text, unescaped(text), unescaped(unescaped(text)), fromUrl(text)];
  for (const run of text.matchAll(/(?:[0-9a-fA-F]{2}){3,}/g))
    readings.push(Buffer.from(run[0], "hex").toString("latin1"));
  for (const run of text.replace(/[\r\n]/g, "").matchAll(/[A-Za-z0-9+/_-]{4,}/g))
    for (let skip = 0; skip < 4; skip++)
      readings.push(Buffer.from(run[0].slice(skip), "base64").toString("latin1"));
  const bytes = Buffer.from(value).toString("latin1");
  return readings.some((one) => one.includes(value) || one.includes(bytes));
}
function unescaped(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/g, (_, code: string, one: string) =>
    code ? String.fromCharCode(Number.parseInt(code, 16)) : one === "n" ? "\n" : one,
  );
}
function fromUrl(text: string): string {
  const spaced = text.replaceAll("+", " ");
  return spaced.replace(/(?:%[0-9a-fA-F]{2})+/g, (codes) =>
    Buffer.from(codes.replaceAll("%", ""), "hex").toString("utf8"),
  );
}

function throughChunks(redaction: Redaction, bytes: Buffer, cuts: readonly number[]): string {
  const redactor = redaction.stream();
  const pieces: Buffer[] = [];
  let from = 0;
  for (const cut of [...cuts].map((one) => one % (bytes.length + 1)).sort((a, b) => a - b)) {
    pieces.push(redactor.push(bytes.subarray(from, cut)));
    from = cut;
  }
  pieces.push(redactor.push(bytes.subarray(from)), redactor.end());
  return Buffer.concat(pieces).toString("latin1");
}

const cuts = fc.array(fc.nat(4096), { maxLength: 30 });
/** Values without the letters of a marker alone, which nobody could tell from the marker itself. */
const value = fc
  .string({ unit: "grapheme", minLength: 6, maxLength: 80 })
  .map((text) => `${text.trim()}#9Z!`)
  .filter((text) => text.trim().length >= 8);

describe("a known secret", () => {
  test.each(Object.keys(WAYS))("is taken out of %s", (way) => {
    const text = `before ${WAYS[way]!(SECRET)} after`;
    expect(holds(text, SECRET) || /\n/.test(text)).toBe(true);
    const { text: clean, redacted } = new Redaction("secrets", [{ name: "PASS", value: SECRET }]).text(text);
    expect(redacted).toBe(1);
    expect(clean).toContain("[redacted:PASS]");
    expect(clean.startsWith("before ") && clean.endsWith(" after")).toBe(true);
    expect(holds(clean, SECRET)).toBe(false);
  });

  test("whatever it is, is taken out in every way, wherever the stream is cut", () => {
    fc.assert(
      fc.property(
        value,
        fc.constantFrom(...Object.values(WAYS)),
        fc.string(),
        fc.string(),
        cuts,
        (secret, way, before, after, at) => {
          const redaction = new Redaction("all", [{ name: "S", value: secret }]);
          const text = Buffer.from(`${before} ${way(secret)} ${after}`);
          const whole = throughChunks(redaction, text, []);
          expect(throughChunks(redaction, text, at)).toBe(whole);
          expect(whole).toContain("[redacted:S]");
          expect(holds(Buffer.from(whole, "latin1").toString(), secret.trim())).toBe(false);
        },
      ),
      { numRuns: 1_500 },
    );
  });

  test("any text gives the same in any chunks", () => {
    const some = fc.constantFrom(
      "ab",
      "abab",
      "aba",
      "b",
      "a",
      "%61",
      "61",
      "YWJhYg",
      "sk-ant-",
      "0123456789",
      "ghp_",
      "://u:",
      "@",
      "eyJ",
      ".",
      "\n",
      "BEGIN RSA PRIVATE KEY-----\\n",
      "A".repeat(33),
    );
    const redaction = new Redaction("all", [
      { name: "LONG", value: "ababbaba" },
      { name: "SHORT", value: "abab" },
    ]);
    fc.assert(
      fc.property(fc.array(some, { maxLength: 60 }), cuts, (words, at) => {
        const bytes = Buffer.from(words.join(""));
        expect(throughChunks(redaction, bytes, at)).toBe(throughChunks(redaction, bytes, []));
      }),
      { numRuns: 3_000 },
    );
  });

  test("the longer of two wins, and one that begins with another is waited for", () => {
    const redaction = new Redaction("secrets", [
      { name: "A", value: "token-1" },
      { name: "B", value: "token-1-and-more" },
    ]);
    expect(redaction.text("token-1-and-more token-1-and-less").text).toBe(
      "[redacted:B] [redacted:A]-and-less",
    );
  });

  test("of several lines is taken out line by line too", () => {
    const key = "first line of the key\nsecond line of the key\nshort";
    const { text } = new Redaction("secrets", [{ name: "KEY", value: key }]).text(
      `> ${key.replaceAll("\n", "\n> ")}`,
    );
    expect(text).toBe("> [redacted:KEY]\n> [redacted:KEY]\n> short");
  });

  test("of less than four characters is not looked for", () => {
    expect(new Redaction("secrets", [{ name: "X", value: "abc" }]).isOff).toBe(true);
  });

  test("of 100 kB is taken out, and no more than a part of it waits", () => {
    const large = Array.from({ length: 100_000 }, (_, i) => String.fromCharCode(97 + ((i * i) % 23))).join(
      "",
    );
    const redactor = new Redaction("secrets", [{ name: "LARGE", value: large }]).stream();
    let held = 0;
    let out = "";
    let given = 0;
    for (let at = 0; at < large.length; at += 1_000) {
      out += redactor.push(Buffer.from(large.slice(at, at + 1_000))).toString();
      given += 1_000;
      held = Math.max(held, given - redactor.found * 16_384);
    }
    out += redactor.end();
    expect(out).toMatch(/^(\[redacted:LARGE\])+$/);
    expect(held).toBeLessThan(20_000);
  });
});

describe("a prompt", () => {
  const redaction = new Redaction("all", [{ name: "PW", value: "Password-of-mine" }]);

  test("that ends like a secret begins is seen after a moment", () => {
    const redactor = redaction.stream();
    expect(redactor.push(Buffer.from("Your P")).toString()).toBe("Your ");
    expect(redactor.isHolding).toBe(true);
    expect(redactor.flush().toString()).toBe("P");
    expect(redactor.isHolding).toBe(false);
    expect(redactor.push(Buffer.from("assport: ")).toString()).toBe("assport: ");
  });

  test("that comes letter by letter lets no more of a secret out than its first three", () => {
    const redactor = redaction.stream();
    let seen = "";
    for (const letter of "Password-of-mine!") {
      seen += redactor.push(Buffer.from(letter)).toString();
      seen += redactor.flush().toString();
    }
    expect(seen).toBe("Pas[redacted:PW]!");
  });

  test("does not let the rest of a secret out", () => {
    const redactor = redaction.stream();
    redactor.push(Buffer.from("Pa"));
    expect(redactor.flush().toString()).toBe("Pa");
    expect(redactor.push(Buffer.from("ssword-of-mine!")).toString()).toBe("[redacted:PW]!");
  });

  test("of a secret's first half is not let out, however long nothing follows", () => {
    const redactor = redaction.stream();
    expect(redactor.push(Buffer.from("> Password-of-")).toString()).toBe("> ");
    expect(redactor.flush().toString()).toBe("");
    expect(redactor.push(Buffer.from("nobody!")).toString()).toBe("Password-of-nobody!");
  });
});

const A = (count: number) => "aB3dE5gH7j".repeat(20).slice(0, count);
const H = (count: number) => "0a1b2c3d4e5f".repeat(20).slice(0, count);
const U = (count: number) => "A1B2C3D4E5".repeat(20).slice(0, count);

describe("the shapes of credentials", () => {
  test.each([
    ["cerver-token", `ck_${A(49)}`],
    ["github-token", `ghp_${A(36)}`],
    ["github-token", `gho_${A(36)}`],
    ["github-token", `github_pat_${A(22)}_${A(59)}`],
    ["anthropic-key", `sk-ant-api03-${A(40)}-${A(40)}AA`],
    ["openai-key", `sk-proj-${A(60)}`],
    ["api-key", `sk-${A(48)}`],
    ["stripe-key", `sk_live_${A(24)}`],
    ["slack-token", `xoxb-123456789012-123456789012-${A(24)}`],
    ["aws-key-id", `AKIA${U(16)}`],
    ["google-key", `AIza${A(35)}`],
    ["gitlab-token", `glpat-${A(20)}`],
    ["npm-token", `npm_${A(36)}`],
    ["jwt", `eyJ${A(33)}.eyJ${A(70)}.${A(43)}`],
    ["e2b-key", `e2b_${H(40)}`],
    ["vercel-token", `vcp_${A(56)}`],
    ["infisical-token", `st.${H(24)}.${H(32)}.${H(32)}`],
    ["sendgrid-key", `SG.${A(22)}.${A(43)}`],
    ["huggingface-token", `hf_${A(34)}`],
  ])("%s: nothing of it is left", (name, token) => {
    const redaction = new Redaction();
    for (const [before, after] of [
      ["", ""],
      ["token=", "\n"],
      ['{"t":"', '"}'],
      ["\\n", "\\n"],
      ["\u001b[32m", "\u001b[0m"],
      ["%3D", "&"],
    ]) {
      const text = `${before}${token}${after}`;
      expect(redaction.text(text)).toEqual({ text: `${before}[redacted:${name}]${after}`, redacted: 1 });
      const bytes = Buffer.from(text);
      const everyByte = Array.from(bytes, (_, at) => at);
      expect(throughChunks(redaction, bytes, everyByte)).toBe(`${before}[redacted:${name}]${after}`);
    }
  });

  test("a password in a URL, and the text of a private key, leave what stands around them", () => {
    const redaction = new Redaction();
    expect(redaction.text("postgres://app:hunter2@db:5432/x").text).toBe(
      "postgres://app:[redacted:password]@db:5432/x",
    );
    const body = `${A(64)}\n${A(64)}\n${A(12)}==`;
    for (const end of ["\n", "\\n", "\r\n"])
      expect(
        redaction.text(
          `-----BEGIN RSA PRIVATE KEY-----${end}${body.replaceAll("\n", end)}${end}-----END RSA PRIVATE KEY-----`,
        ).text,
      ).toBe("-----BEGIN RSA PRIVATE KEY-----[redacted:private-key]-----END RSA PRIVATE KEY-----");
  });

  test.each(["$ecret!9", "$1.00", "*x*y", "%40bc", "?why", "#9-a!", "(a)b", "pa$$w0rd", "a:b"])(
    "a password in a URL may begin as it likes: %s",
    (password) => {
      expect(new Redaction().text(`redis://app:${password}@cache:6379`)).toEqual({
        text: "redis://app:[redacted:password]@cache:6379",
        redacted: 1,
      });
    },
  );

  test("a private key with headers goes with them", () => {
    const redaction = new Redaction();
    const body = Array.from({ length: 6 }, () => A(64)).join("\n");
    for (const [kind, headers] of [
      [
        "RSA PRIVATE KEY",
        "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF\n\n",
      ],
      ["PGP PRIVATE KEY BLOCK", "Version: GnuPG v2.0.22 (GNU/Linux)\nComment: a - b\n\n"],
      ["PGP PRIVATE KEY BLOCK", "Version: 1\n\n"],
    ])
      for (const end of ["\n", "\\n", "\r\n"])
        expect(
          redaction.text(
            `-----BEGIN ${kind}-----\n${headers}${body}\n-----END ${kind}-----`.replaceAll("\n", end),
          ).text,
        ).toBe(`-----BEGIN ${kind}-----[redacted:private-key]-----END ${kind}-----`);
  });

  test.each([
    "redis://app:$PASSWORD@cache",
    "redis://app:$1@cache",
    "redis://app:$(cat password)@cache",
    "redis://app:***@cache",
    "redis://app:%s@cache",
    "redis://app:%PASSWORD%@cache",
    "redis://app:%(password)s@cache",
    "redis://app:?@cache",
    "redis://app:#{password}@cache",
    "redis://app:(password)@cache",
    "http://localhost:3000/a@b",
    "https://git@github.com/a/b",
    "postgres://$USER:$PASSWORD@host".replace("$P", "{P"),
    "task-0123456789abcdef0123456789abcdef0123",
    "sk-loading-indicator-with-a-long-name",
    "-----BEGIN PRIVATE KEY-----",
    "class eyJust.eyJust",
    "st.com/0123",
    "npm_config_registry=https://registry.npmjs.org/",
    "AKIA is how they begin",
  ])("%s is left as it is", (text) => {
    expect(new Redaction().text(text)).toEqual({ text, redacted: 0 });
  });
});
