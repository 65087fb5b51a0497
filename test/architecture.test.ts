import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { describe, expect, test } from "vitest";

const SRC = join(import.meta.dirname, "..", "src");

/** Which layer may import which, from ARCHITECTURE.md. A layer may always import itself. */
const MAY_IMPORT: Record<string, string[]> = {
  util: [],
  protocol: [],
  tunnel: ["protocol", "util"],
  client: ["protocol", "util"],
  output: ["protocol", "util"],
  secrets: ["protocol", "util"],
  login: ["client", "protocol", "util"],
  "gateway/store": ["protocol", "util"],
  "gateway/account": ["gateway/store", "protocol", "util"],
  "gateway/compute": ["gateway/store", "output", "tunnel", "protocol", "util"],
  "gateway/session": ["gateway/compute", "gateway/account", "gateway/store", "protocol", "util"],
  "gateway/http": ["gateway/session", "gateway/compute", "gateway/account", "tunnel", "protocol", "util"],
  gateway: [
    "gateway/http",
    "gateway/session",
    "gateway/compute",
    "gateway/account",
    "gateway/store",
    "tunnel",
    "protocol",
    "util",
  ],
  relay: ["login", "client", "output", "tunnel", "secrets", "protocol", "util"],
  sync: ["login", "client", "protocol", "util"],
  mcp: ["login", "client", "secrets", "protocol", "util"],
  cli: ["login", "client", "protocol", "util"],
};

/** The cli starts the modes and the trial of a provider, by import() only, and reads how they are configured. */
const CLI_MAY_START =
  /^(?:gateway|relay|mcp|sync)\/(?:start|config|connection)\.ts$|^sync\/syncer\.ts$|^gateway\/(?:try-provider|record-provider|rotate-key)\.ts$/;

/** Where each outside library may be used. */
const HOMES: [library: RegExp, home: RegExp][] = [
  [/^hono\b|^@hono\//, /^gateway\/(?:http\/|start\.ts)|^relay\/compute-app\.ts/],
  [/^kysely$/, /^gateway\//],
  [/^pg$|^libsql$/, /^gateway\/store\//],
  [/^ws$/, /^tunnel\/ws-socket\.ts|^gateway\/http\/(?:tunnel|news)-upgrade\.ts|^relay\/connection\.ts/],
  [/^@modelcontextprotocol\//, /^mcp\//],
  [/^e2b$/, /^gateway\/compute\/providers\/e2b\.ts/],
  [/^@vercel\/sandbox$/, /^gateway\/compute\/providers\/vercel\.ts/],
  [/^commander$/, /^cli\//],
  [/^pino$/, /^util\/logger\.ts/],
  [/^open$/, /^login\/open-browser\.ts/],
  [
    /^zod$/,
    /^protocol\/|^(?:gateway|relay)\/(?:config|http\/|host\/|identity|compute)|^login\/|^mcp\/tools\/|^cli\/own-token|^client\/|^gateway\/compute\//,
  ],
  [/^node:child_process$/, /^relay\/(?:host|daemon)\//],
];

interface Import {
  from: string;
  specifier: string;
  typeOnly: boolean;
  dynamic: boolean;
}

const files = (readdirSync(SRC, { recursive: true }) as string[])
  .map((file) => file.split("\\").join("/"))
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));

const imports: Import[] = files.flatMap((from) => {
  const text = readFileSync(join(SRC, from), "utf8");
  const statics = [
    ...text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?"([^"]+)"/gm),
  ];
  const dynamics = [...text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g)];
  return [
    ...statics.map(([, type, specifier]) => ({
      from,
      specifier: specifier!,
      typeOnly: type !== undefined,
      dynamic: false,
    })),
    ...dynamics.map(([, specifier]) => ({ from, specifier: specifier!, typeOnly: false, dynamic: true })),
  ];
});

const layerOf = (file: string) => {
  const [first, second] = file.split("/");
  return first === "gateway" && file.split("/").length > 2 ? `gateway/${second}` : first!;
};
const target = ({ from, specifier }: Import) =>
  posix.normalize(posix.join(posix.dirname(from), specifier)).replace(/\.js$/, ".ts");
const inside = imports.filter(({ specifier }) => specifier.startsWith("."));
const outside = imports.filter(({ specifier }) => !specifier.startsWith("."));

describe("the import table", () => {
  test("is read from the files that are there", () => {
    expect(files.length).toBeGreaterThan(80);
    expect(inside.length).toBeGreaterThan(200);
    expect(inside.filter((one) => !files.includes(target(one)))).toEqual([]);
  });

  test("names every layer", () => {
    expect([...new Set(files.map(layerOf))].filter((layer) => !(layer in MAY_IMPORT))).toEqual([]);
  });

  test("is kept", () => {
    const broken = inside.filter((one) => {
      const [from, to] = [layerOf(one.from), layerOf(target(one))];
      if (from === to || MAY_IMPORT[from]!.includes(to)) return false;
      return !(from === "cli" && CLI_MAY_START.test(target(one)) && (one.dynamic || one.typeOnly));
    });
    expect(broken.map((one) => `${one.from} may not import ${target(one)}`)).toEqual([]);
  });

  test("gives each outside library its home", () => {
    const broken = outside.filter(
      ({ from, specifier, typeOnly }) =>
        !typeOnly && HOMES.some(([library, home]) => library.test(specifier) && !home.test(from)),
    );
    expect(broken.map(({ from, specifier }) => `${from} may not import ${specifier}`)).toEqual([]);
  });
});

describe("what is not there", () => {
  const using = (pattern: RegExp, allowed: RegExp) =>
    files.filter(
      (file) =>
        !allowed.test(file) &&
        pattern.test(readFileSync(join(SRC, file), "utf8").replace(/^\s*(?:\/\/|\*|\/\*).*$/gm, "")),
    );

  test("the environment is read by the command line and configurations only", () => {
    // The runner is the text of a program that runs in a sandbox, with that one's environment.
    const allowed = /^cli\/|config\.ts$|^gateway\/compute\/providers\/cloudflare-runner\.ts$/;
    expect(using(/process\.env\b/, allowed)).toEqual([]);
  });

  test("the description of the API is loaded when it is asked for, not when a gateway starts", () => {
    const at = (file: string) => file.startsWith("gateway/http/openapi/");
    const loads = inside.filter((one) => at(target(one)) && !at(one.from) && !one.typeOnly);
    expect(loads.length).toBeGreaterThan(0);
    expect(loads.filter(({ dynamic }) => !dynamic)).toEqual([]);
  });

  test("the client needs nothing of Node, so that pages have it too", () => {
    const reached = new Set<string>();
    const visit = (file: string) => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const one of inside) if (one.from === file && !one.typeOnly) visit(target(one));
    };
    visit("client/index.ts");
    expect(reached.size).toBeGreaterThan(25);
    expect(
      outside.filter(({ from }) => reached.has(from)).filter(({ specifier }) => specifier !== "zod"),
    ).toEqual([]);
    expect(using(/\bBuffer\b|\bprocess\./, /^$/).filter((file) => reached.has(file))).toEqual([]);
  });

  test("nothing writes to the console", () => {
    expect(using(/^\s*console\.\w+\(/m, /^$/)).toEqual([]);
  });

  test("the session layer names no vendor, the compute layer no session service, secrets write nothing", () => {
    const session = files.filter((file) => file.startsWith("gateway/session/"));
    expect(
      session.filter((file) => /vercel|e2b|cloudflare/i.test(readFileSync(join(SRC, file), "utf8"))),
    ).toEqual([]);
    expect(
      inside.filter(
        (one) => one.from.startsWith("gateway/compute/") && target(one).startsWith("gateway/session/"),
      ),
    ).toEqual([]);
    expect(
      imports.filter(({ from, specifier }) => from.startsWith("secrets/") && /node:fs/.test(specifier)),
    ).toEqual([]);
  });
});
