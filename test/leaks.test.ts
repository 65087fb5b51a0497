import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Logger } from "../src/util/logger.js";
import { type Cerver, startCerver } from "./harness.js";

const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");

const letters = (count: number, seed: number) =>
  Array.from(
    { length: count },
    (_, i) => "kQ7vXz2mB9tR4wLpYc8sHd5nFg3jTe6a"[(i * 7 + seed * 5 + ((i * i) >> 3)) % 32],
  ).join("");

/** Secrets as they are in the world. */
const SECRETS: Record<string, string> = {
  PLAIN_KEY: letters(40, 1),
  SIGNS: "p@ss\"w'ord\\with/all+of=the&signs<%>~!",
  SPACES: "correct horse battery staple",
  UNICODE: "pässwörd-日本-🔑-ключ",
  LONG_HEX: Buffer.from(letters(32, 3)).toString("hex"),
  CONNECTION: "postgresql://svc:S3cr%2Ft-and-more@db.internal:5432/app?sslmode=require",
  LINES: Array.from({ length: 12 }, (_, i) => letters(64, i)).join("\n"),
  ACCOUNT: JSON.stringify({
    type: "service_account",
    private_key: `${letters(64, 4)}\n${letters(64, 5)}\n`,
    id: letters(20, 6),
  }),
  SHORT: "x9!Q",
  OWN_SHAPE: `sk-ant-api03-${letters(60, 8)}`,
};

/** How a program prints a value, as JavaScript that works on `v`. */
const WAYS: Record<string, string> = {
  plain: "v",
  quoted: "`token='` + v + `';`",
  header: "'Authorization: Bearer ' + v + '\\r\\n'",
  json: "JSON.stringify({ v })",
  "json in json": "JSON.stringify({ body: JSON.stringify({ v }) })",
  "ascii json":
    "JSON.stringify(v).replace(/[^\\x20-\\x7e]/g, (c) => '\\\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'))",
  "html-safe json": "JSON.stringify(v).replace(/[<>&]/g, (c) => '\\\\u00' + c.charCodeAt(0).toString(16))",
  html: "v.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')",
  url: "encodeURIComponent(v)",
  "url lower": "encodeURIComponent(v).replace(/%../g, (c) => c.toLowerCase())",
  "url of every byte": "Buffer.from(v).toString('hex').replace(/../g, '%$&')",
  form: "new URLSearchParams({ v }).toString()",
  hex: "Buffer.from(v).toString('hex')",
  HEX: "Buffer.from(v).toString('hex').toUpperCase()",
  base64: "Buffer.from(v).toString('base64')",
  "base64 at one": "Buffer.from(':' + v + ':').toString('base64')",
  "base64 at two": "Buffer.from('u:' + v + '::').toString('base64')",
  base64url: "Buffer.from('usr' + v).toString('base64url')",
  "base64 in lines": "Buffer.from(v).toString('base64').replace(/.{76}/g, '$&\\n')",
  "shell quoted": "`'` + v.replaceAll(`'`, `'\\\\''`) + `'`",
};

/** Prints a value in every way, each in pieces of a few bytes. */
const PROGRAM = `
import { setImmediate as turn } from "node:timers/promises";
const v = process.env.LEAK;
const shapes = [${Object.values(WAYS).join(",\n")}];
const size = Number(process.env.PIECE);
let n = 0;
for (const shape of shapes) {
  const bytes = Buffer.from("#" + n++ + " " + shape + "\\n");
  const out = n % 2 === 0 ? process.stderr : process.stdout;
  for (let at = 0; at < bytes.length; at += size) {
    out.write(bytes.subarray(at, at + size));
    if (at % (size * 8) === 0) await turn();
  }
}`;

const printed = (value: string) =>
  Object.values(WAYS).map(
    (way) =>
      new Function("v", "Buffer", "URLSearchParams", `return ${way}`)(
        value,
        Buffer,
        URLSearchParams,
      ) as string,
  );

/** What a sink holds of a value: as it is, in one of its shapes, or behind hex, base64, escapes and URLs. */
function leaksIn(sink: string, value: string): string[] {
  const found: string[] = [];
  const names = Object.keys(WAYS);
  for (const [index, shape] of printed(value).entries()) if (sink.includes(shape)) found.push(names[index]!);
  const readings = [
    sink
      .replace(/\\+n/g, "\n")
      .replace(/\\+u([0-9a-f]{4})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
      .replace(/\\+(["\\/])/g, "$1"),
  ];
  for (const run of sink.matchAll(/(?:[0-9a-f]{2}){4,}/gi))
    readings.push(Buffer.from(run[0], "hex").toString("utf8"));
  for (const run of sink.replace(/\\n|[\r\n]/g, "").matchAll(/[A-Za-z0-9+/_-]{6,}/g))
    for (let skip = 0; skip < 4; skip++)
      readings.push(Buffer.from(run[0].slice(skip), "base64").toString("utf8"));
  readings.push(
    sink
      .replaceAll("+", " ")
      .replace(/(?:%[0-9a-f]{2})+/gi, (codes) => Buffer.from(codes.replaceAll("%", ""), "hex").toString()),
  );
  if (readings.some((one) => one.includes(value))) found.push("behind an encoding");
  return found;
}

/** Everything that was logged. */
function listening(): { logger: Logger; text(): string } {
  const lines: string[] = [];
  const log = (...words: unknown[]) =>
    void lines.push(
      words
        .map((word) =>
          word instanceof Error
            ? word.stack
            : JSON.stringify(word, (_, one) =>
                one instanceof Error ? { message: one.message, stack: one.stack } : one,
              ),
        )
        .join(" "),
    );
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
  return { logger, text: () => lines.join("\n") };
}

/** Every byte that is kept below a folder, as text. */
async function kept(folder: string): Promise<string> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const texts = await Promise.all(
    files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name), "utf8")),
  );
  // What the index holds of small outputs is base64 of its own.
  return texts
    .map(
      (text) =>
        text +
        (text.match(/"inline":"[^"]+"/g) ?? [])
          .map((one) => Buffer.from(one.slice(10, -1), "base64").toString("utf8"))
          .join("\n"),
    )
    .join("\n");
}

describe("secrets that a run prints", () => {
  const logs = listening();
  let cerver: Cerver;
  let session: string;
  const api: string[] = [];
  const sse: string[] = [];
  const values = Object.entries(SECRETS);
  const own = Object.fromEntries(values.map(([name, value]) => [`LEAK_${name}`, value]));

  beforeAll(async () => {
    cerver = await startCerver({
      env: { ...own, CERVER_SECRETS_ALLOW: "LEAK_*" },
      deps: { logger: logs.logger },
      relayLogger: logs.logger,
    });
    session = await cerver.session();
    for (const [index, [name]] of values.entries()) {
      const body = {
        code: PROGRAM,
        runtime: "node",
        envs: { LEAK: `secret://env/LEAK_${name}`, PIECE: String(3 + index * 4) },
      };
      const [answer, stream] = await Promise.all([
        cerver.call("POST", `/v2/sessions/${session}/run`, body),
        cerver.call("POST", `/v2/sessions/${session}/run/stream`, {
          ...body,
          envs: { ...body.envs, PIECE: "100000" },
        }),
      ]);
      api.push(await answer.text());
      sse.push(await stream.text());
    }
  }, 60_000);
  afterAll(() => cerver.stop());

  const expectNone = (sink: string) => {
    const found = values.flatMap(([name, value]) => leaksIn(sink, value).map((way) => `${name}: ${way}`));
    expect(found).toEqual([]);
  };
  const outputOf = (events: string) =>
    [...events.matchAll(/^data: (.*)$/gm)]
      .map(([, data]) => (JSON.parse(data!) as { data?: string }).data ?? "")
      .join("");

  test("are 200 shapes", () => {
    expect(values.length * Object.keys(WAYS).length).toBe(200);
    for (const answer of api) {
      const { result, status } = JSON.parse(answer);
      expect(status).toBe("succeeded");
      expect((result.stdout + result.stderr).match(/^#\d+ /gm)).toHaveLength(20);
      expect((result.stdout + result.stderr).match(/\[redacted:LEAK_\w+\]/g)!.length).toBeGreaterThanOrEqual(
        20,
      );
    }
  });

  test("are in no answer of the API, also not in the raw output", async () => {
    const { runs } = await cerver.client.runs(session, { limit: 50 });
    const raw = await Promise.all(
      runs.flatMap(({ run_id }) =>
        (["stdout", "stderr"] as const).map(async (stream) =>
          (await cerver.client.runOutput(session, run_id, stream)).text(),
        ),
      ),
    );
    expect(raw.join("").length).toBeGreaterThan(1_000);
    expectNone(
      [
        ...api,
        ...raw,
        ...api.map((one) => JSON.parse(one).result.stdout),
        ...api.map((one) => JSON.parse(one).result.stderr),
      ].join("\n"),
    );
  });

  test("are in no event of a stream, also not across two", () => {
    expect(outputOf(sse.join("\n"))).toContain("[redacted:LEAK_PLAIN_KEY]");
    expectNone(`${sse.join("\n")}\n${outputOf(sse.join("\n"))}`);
  });

  test("are not in the transcript", async () => {
    const response = await cerver.call("GET", `/v2/sessions/${session}?full=1`);
    const text = await response.text();
    expect(text).toContain("[redacted:LEAK_SIGNS]");
    const { transcript } = JSON.parse(text) as { transcript?: { content: string }[] };
    expectNone(`${text}\n${(transcript ?? []).map(({ content }) => content).join("\n")}`);
  });

  test("are in nothing that an agent reads through MCP", async () => {
    const client = new Client({ name: "test", version: "1" });
    await client.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [BIN, "mcp"],
        env: {
          PATH: process.env.PATH!,
          HOME: cerver.folder,
          CERVER_GATEWAY_URL: cerver.gateway.url,
          CERVER_API_TOKEN: cerver.token,
        },
        stderr: "pipe",
      }),
    );
    try {
      const peek = await client.callTool({
        name: "cerver_session_peek",
        arguments: { session_id: session, last_n: 50 },
      });
      const text = await client.callTool({
        name: "cerver_session_export",
        arguments: { session_id: session },
      });
      const other = await cerver.session();
      const runs = [];
      for (const [name] of values) {
        const secret = `LEAK_${name}`;
        const code = PROGRAM.replace("process.env.LEAK", `process.env.${secret}`);
        const ran = await client.callTool({
          name: "cerver_run",
          arguments: { session_id: other, code, runtime: "node", secrets: [secret], envs: { PIECE: "7" } },
        });
        expect(ran.structuredContent).toMatchObject({
          status: "succeeded",
          stdout: expect.stringContaining(`[redacted:${secret}]`),
        });
        runs.push(ran);
      }
      const read = [peek, text, ...runs]
        .map((one) => `${JSON.stringify(one)}\n${(one.content as { text: string }[])[0]!.text}`)
        .join("\n");
      expect(read).toContain("[redacted:LEAK_");
      expectNone(read);
    } finally {
      await client.close();
    }
  }, 60_000);

  test("are each on the audit, by name", async () => {
    const { uses, next_cursor } = await cerver.client.secretUses({ session_id: session, limit: 15 });
    expect(uses).toHaveLength(15);
    expect(next_cursor).toBeDefined();
    const rest = await cerver.client.secretUses({ session_id: session, limit: 15, cursor: next_cursor });
    expect(rest.uses).toHaveLength(5);
    expect(new Set([...uses, ...rest.uses].map(({ name }) => name))).toEqual(new Set(Object.keys(own)));
    expect(uses[0]).toMatchObject({
      backend: "env",
      by: "run",
      session_id: session,
      run_id: expect.stringMatching(/^run_/),
    });
    expectNone(JSON.stringify([uses, rest]));
  });

  test("are in no log, in no database and in no journal of the machine", async () => {
    const refused = await cerver.call("POST", `/v2/sessions/${session}/run`, {
      code: "true",
      secrets: ["NOT_LISTED"],
    });
    expect(refused.status).toBe(403);
    await new Promise((resolve) => setTimeout(resolve, 400));
    const disk = await kept(cerver.folder);
    expect(disk).toContain("[redacted:LEAK_PLAIN_KEY]");
    expectNone(`${logs.text()}\n${disk}`);
  });
});

test("the same shapes are all found where nothing is taken out, so that these tests can fail", async () => {
  const cerver = await startCerver({
    env: { LEAK_SIGNS: SECRETS.SIGNS, CERVER_SECRETS_ALLOW: "LEAK_SIGNS", CERVER_REDACT: "off" },
  });
  try {
    const session = await cerver.session();
    const { result } = await cerver.client.run(session, {
      code: PROGRAM,
      runtime: "node",
      envs: { LEAK: "secret://LEAK_SIGNS", PIECE: "9" },
    });
    const ways = [...Object.keys(WAYS), "behind an encoding"];
    expect(leaksIn(`${result.stdout}\n${result.stderr}`, SECRETS.SIGNS!)).toEqual(ways);
  } finally {
    await cerver.stop();
  }
});
