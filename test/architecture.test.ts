import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { describe, expect, test } from "vitest";

const SRC = join(import.meta.dirname, "..", "src");

const ARCHITECTURE = readFileSync(join(SRC, "../ARCHITECTURE.md"), "utf8");

/** The rows of a table of ARCHITECTURE.md, by its heading: of each its two cells. */
function tableOf(heading: string): [string, string][] {
  const [, section] = ARCHITECTURE.split(`\n## ${heading}\n`);
  const rows = section!.split("\n## ")[0]!.matchAll(/^\| (.+?) \| (.+) \|$/gm);
  return [...rows].slice(1).map(([, first, second]) => [first!, second!]);
}

const importTable = tableOf("Who may import whom").flatMap(([layers, what]) =>
  layers.split(", ").map((layer) => [layer, what.split(", ")] as const),
);
/** Which layer may import which. A layer may always import itself. */
const MAY_IMPORT = Object.fromEntries(importTable);

/** The files of the modes that the cli may import: by import() only, or as types. */
const CLI_MAY_START = new RegExp(
  [
    String.raw`^(?:gateway|relay|sync|mcp)/(?:start|config|http|handshake)\.ts$`,
    ...MAY_IMPORT.cli!.flatMap((what) => /^`(.+)`$/.exec(what)?.[1] ?? []).map((file) => `^${file}$`),
  ].join("|"),
);

/** Where each outside library may be used. */
const HOMES: [library: RegExp, home: RegExp][] = [
  [/^hono\b|^@hono\//, /^gateway\/(?:http\/|start\.ts)|^relay\/compute-app\.ts/],
  [/^kysely$/, /^gateway\//],
  [/^pg$|^libsql$/, /^gateway\/store\//],
  [/^ws$/, /^tunnel\/ws-socket\.ts|^gateway\/http\/(?:tunnel|news)-upgrade\.ts|^relay\/connection\.ts/],
  [/^@modelcontextprotocol\//, /^mcp\//],
  [/^e2b$/, /^gateway\/compute\/providers\/e2b\.ts/],
  [/^@vercel\/sandbox$/, /^gateway\/compute\/providers\/vercel\.ts/],
  [/^jsonc-parser$/, /^mcp-clients\/json-config\.ts/],
  [/^commander$/, /^cli\//],
  [/^pino$/, /^util\/logger\.ts/],
  [/^@napi-rs\/keyring$/, /^login\/keychain-program\.ts$/],
  [/^react\b|^react-dom\b|^@xterm\/|^uplot$/, /^dashboard\//],
  [/^open$/, /^login\/open-browser\.ts/],
  [
    /^zod$/,
    /^protocol\/|^(?:gateway|relay)\/(?:config|http\/|host\/|identity|record|compute)|^login\/|^mcp\/|^cli\/own-token|^client\/|^gateway\/compute\//,
  ],
  [/^@aws-sdk\//, /^secrets\/aws-backend\.ts$/],
  [/^@infisical\/sdk$/, /^secrets\/infisical-transport\.ts$/],
  [/^google-auth-library$/, /^secrets\/gcp-backend\.ts$/],
  [/^@1password\/sdk$/, /^secrets\/1password-sdk\.ts$/],
  [/^node:child_process$/, /^relay\/(?:host|daemon)\/|^secrets\/exec-program\.ts$|^login\/keychain\.ts$/],
];

interface Import {
  from: string;
  specifier: string;
  typeOnly: boolean;
  dynamic: boolean;
}

const files = (readdirSync(SRC, { recursive: true }) as string[])
  .map((file) => file.split("\\").join("/"))
  .filter((file) => /\.tsx?$/.test(file) && !file.endsWith(".test.ts"));

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
const target = ({ from, specifier }: Import) => {
  const file = posix.normalize(posix.join(posix.dirname(from), specifier)).replace(/\.js$/, ".ts");
  return files.includes(file) ? file : file.replace(/\.ts$/, ".tsx");
};
const inside = imports.filter(({ specifier }) => specifier.startsWith(".") && !specifier.endsWith(".css"));
const outside = imports.filter(({ specifier }) => !specifier.startsWith("."));

describe("the import table", () => {
  test("is read from the files that are there", () => {
    expect(files.length).toBeGreaterThan(80);
    expect(inside.length).toBeGreaterThan(200);
    expect(inside.filter((one) => !files.includes(target(one)))).toEqual([]);
  });

  test("names every layer, and the map every folder", () => {
    expect([...new Set(files.map(layerOf))].sort()).toEqual(importTable.map(([layer]) => layer).sort());
    const folders = new Set(
      files
        .filter((file) => file.includes("/"))
        .flatMap((file) => {
          const [first, second] = posix.dirname(file).split("/");
          return second ? [first!, `${first}/${second}`] : [first!];
        }),
    );
    const mapped = tableOf("The map").map(([folder]) => folder.replace(/^`src\/(.+)`$/, "$1"));
    // What these are made of is no business of others.
    const own = [
      "cli/commands",
      "mcp/tools",
      "mcp/resources",
      "mcp/prompts",
      "dashboard/pages",
      "dashboard/components",
      "dashboard/public",
    ];
    expect([...folders].filter((folder) => !own.includes(folder)).sort()).toEqual(mapped.sort());
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
