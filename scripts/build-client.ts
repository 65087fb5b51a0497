// Bundles `cerver/client` into one file without imports, for Node and browsers, beside declarations that need no package.
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";

export async function buildClient(root: string, outdir: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: { index: "src/client/index.ts" },
    outdir,
    bundle: true,
    format: "esm",
    // Neither Node nor a browser: an import of Node's own modules does not resolve, and fails the build.
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    minify: true,
    legalComments: "none",
    plugins: [partsOfZod],
  });
  await writeTypes(root, outdir);
}

/**
 * esbuild takes the whole of zod, every language of its messages included, where `z` is imported by its name: 490 kB instead
 * of 140.
 */
const partsOfZod: Plugin = {
  name: "parts-of-zod",
  setup(build) {
    build.onLoad({ filter: /[\\/]src[\\/]protocol[\\/].*\.ts$/ }, async ({ path }) => ({
      loader: "ts",
      contents: (await readFile(path, "utf8")).replace('import { z } from "zod"', 'import * as z from "zod"'),
    }));
  },
};

/** The declarations that the entry leads to. One that leads out of the package fails the build. */
async function writeTypes(root: string, outdir: string): Promise<void> {
  const emitted = join(outdir, "emitted");
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await promisify(execFile)(process.execPath, [tsc, "-p", "tsconfig.client.json", "--outDir", emitted], {
    cwd: root,
  });
  const reached = new Set<string>();
  const visit = async (file: string): Promise<void> => {
    if (reached.has(file)) return;
    reached.add(file);
    const text = await readFile(file, "utf8");
    const specifiers = [...text.matchAll(/(?:from|import\()\s*"([^"]+)"/g)].map(
      ([, specifier]) => specifier!,
    );
    for (const specifier of specifiers) {
      if (!specifier.startsWith("."))
        throw new Error(
          `${relative(emitted, file)} needs ${specifier}, which whoever installs cerver may not have`,
        );
      await visit(join(dirname(file), specifier.replace(/\.js$/, ".d.ts")));
    }
  };
  await visit(join(emitted, "client/index.d.ts"));
  for (const file of reached) {
    const target = join(outdir, "types", relative(emitted, file));
    await mkdir(dirname(target), { recursive: true });
    await cp(file, target);
  }
  await writeFile(join(outdir, "index.d.ts"), 'export * from "./types/client/index.js";\n');
  await rm(emitted, { recursive: true });
}
