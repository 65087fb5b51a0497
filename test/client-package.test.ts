import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";

const exec = promisify(execFile);
const root = join(import.meta.dirname, "..");
const tsc = join(root, "node_modules/typescript/bin/tsc");

/** A folder of somebody who has installed the packed package, and nothing else. */
let folder: string;
let cerver: Cerver;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-consumer-"));
  const [{ filename }] = JSON.parse(
    (await exec("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: root }))
      .stdout,
  );
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ name: "consumer", private: true, type: "module" }),
  );
  // The optional database driver is for gateways.
  await exec(
    "npm",
    ["install", "--offline", "--omit=optional", "--no-audit", "--no-fund", join(folder, filename)],
    {
      cwd: folder,
    },
  );
  cerver = await startCerver();
}, 120_000);
afterAll(async () => {
  await cerver?.stop();
  await rm(folder, { recursive: true, force: true });
});

const OPTIONS = {
  target: "ES2023",
  module: "NodeNext",
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  outDir: "out",
};

async function compile(name: string, source: string, options: object): Promise<string> {
  await writeFile(join(folder, `${name}.ts`), source);
  const config = join(folder, `tsconfig.${name}.json`);
  await writeFile(
    config,
    JSON.stringify({ compilerOptions: { ...OPTIONS, ...options }, files: [`${name}.ts`] }),
  );
  return exec(process.execPath, [tsc, "-p", config], { cwd: folder }).then(
    () => "",
    ({ stdout }) => stdout,
  );
}

test("the package brings nothing with it, and the client asks for nothing of Node", async () => {
  const installed = JSON.parse(await readFile(join(folder, "node_modules/.package-lock.json"), "utf8"));
  const names = Object.entries<{ optional?: boolean }>(installed.packages).filter(
    ([, { optional }]) => !optional,
  );
  expect(names.map(([name]) => name)).toEqual(["node_modules/cerver"]);
  const text = await readFile(join(folder, "node_modules/cerver/dist/client/index.js"), "utf8");
  expect(text).not.toMatch(/\bfrom"|\bimport\(|\brequire\(|\bnode:|\bBuffer\b|\bprocess\./);
  expect(text.length).toBeLessThan(200_000);
});

test("the example compiles against the installed package's types, library checks on, and runs", async () => {
  const example = await readFile(join(root, "examples/client/main.ts"), "utf8");
  await mkdir(join(folder, "node_modules/@types"), { recursive: true });
  await cp(join(root, "node_modules/@types/node"), join(folder, "node_modules/@types/node"), {
    recursive: true,
  });
  await cp(join(root, "node_modules/undici-types"), join(folder, "node_modules/undici-types"), {
    recursive: true,
  });
  expect(await compile("main", example, { lib: ["ES2023"], types: ["node"] })).toBe("");
  const { stdout } = await exec(process.execPath, ["out/main.js"], {
    cwd: folder,
    env: { ...process.env, CERVER_GATEWAY_URL: cerver.gateway.url, CERVER_API_TOKEN: cerver.token },
  });
  expect(stdout).toMatch(
    /^on p69: .+\nbuilding\ndone\nexit 0 after \d+ ms\nassistant tool_use, tool tool_result\n1 with this label\n$/,
  );
});

test("a page's program compiles too, and a wrong one does not", async () => {
  const page = { lib: ["ES2023", "DOM"], types: [] };
  const right = `import { GatewayClient, type RunRecord, type SessionNews } from "cerver/client";
const cerver = new GatewayClient({ gatewayUrl: location.origin });
export async function* words(): AsyncGenerator<string> {
  const news: AsyncGenerator<SessionNews> = cerver.events();
  for await (const one of news) if (one.type === "run") yield one.status;
}
export const lost = ({ status }: RunRecord) => status === "lost";
`;
  expect(await compile("page", right, page)).toBe("");
  const wrong = right.replace('"lost"', '"mislaid"').replace("one.status", "one.entries");
  const said = await compile("wrong", wrong, page);
  expect(said).toContain("mislaid");
  expect(said).toContain("entries");
});
