import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ProviderEnv } from "../../src/gateway/compute/contract.js";
import type { e2bProvider } from "../../src/gateway/compute/providers/e2b.js";
import { type E2bServer, startE2bServer } from "./e2b-server.js";

const KEY = "e2b_00000000000000000000000000000000000bundle";
const root = join(import.meta.dirname, "..", "..");

let server: E2bServer;
let folder: string;
beforeAll(async () => {
  server = await startE2bServer({ apiKey: KEY });
  // Where no package is to be found: a bundle has to do without.
  folder = await mkdtemp(join(tmpdir(), "cerver-bundle-"));
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

describe("the E2B adapter in a bundle", () => {
  test("loads the SDK when it is first used, and works there as it does beside its packages", async () => {
    const { metafile } = await build({
      absWorkingDir: root,
      entryPoints: { adapter: "src/gateway/compute/providers/e2b.ts" },
      outdir: folder,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "node20",
      metafile: true,
      minifySyntax: true,
      minifyWhitespace: true,
      logLevel: "silent",
      banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
    });
    const entry = Object.entries(metafile.outputs).find(([path]) => path.endsWith("/adapter.mjs"))![1];
    expect(
      Object.keys(entry.inputs).filter((path) => /node_modules\/(?:e2b|@connectrpc)\//.test(path)),
    ).toEqual([]);
    const lazy = entry.imports.filter(({ kind }) => kind === "dynamic-import");
    expect(lazy.length).toBeGreaterThan(0);

    const bundled = (await import(pathToFileURL(join(folder, "adapter.mjs")).href)) as {
      e2bProvider: typeof e2bProvider;
    };
    const adapter = bundled.e2bProvider({ apiUrl: server.apiUrl, sandboxUrl: server.sandboxUrl });
    const env: ProviderEnv = {
      computeId: "provider_e2b",
      signal: new AbortController().signal,
      credentials: { e2b_api_key: KEY },
    };
    const record = await adapter.createSandbox({ engine: "shell", metadata: {} }, env);
    await adapter.writeFile(record, { path: "a/b", content: "text", encoding: "utf8" }, env);
    const code = "cat a/b; printf '\\377'; exit 4";
    const answer = await adapter.runSandbox(record, { code, runtime: "shell" }, env);
    expect(await answer.json()).toMatchObject({
      exit_code: 4,
      stdout: Buffer.from([...Buffer.from("text"), 255]).toString("base64"),
      stdout_encoding: "base64",
    });
    await adapter.deleteSandbox(record, env);
  });
});
