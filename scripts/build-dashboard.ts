// Bundles the page into hashed files, each beside its compressed forms, which the gateway serves as they are.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import tailwind from "@tailwindcss/vite";
import { build, type Plugin, type Rolldown } from "vite";

export interface BuiltDashboard {
  /** Bytes, gzipped, that a browser fetches before the page shows: what the document names, and what that imports. */
  firstLoadBytes: number;
  /** Files of packages that are in the bundle, relative to `root`. */
  inputs: string[];
}

/** What is worth compressing. */
const TEXT = /\.(?:html|js|css|svg|json)$/;

export async function buildDashboard(root: string, outdir: string): Promise<BuiltDashboard> {
  const { output } = (await build({
    configFile: false,
    root: join(root, "src/dashboard"),
    base: "./",
    logLevel: "warn",
    plugins: [tailwind(), englishOnly, withoutWarning],
    build: {
      outDir: outdir,
      emptyOutDir: true,
      target: "es2023",
      cssTarget: ["chrome123", "firefox128", "safari17.5"],
      // A data: address is no 'self' to a strict policy.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
    },
  })) as Rolldown.RolldownOutput;

  const files = (await readdir(outdir, { recursive: true })).filter((name) => TEXT.test(name));
  const sizes = new Map<string, number>();
  await Promise.all(
    files.map(async (name) => {
      const path = join(outdir, name);
      const bytes = await readFile(path);
      const [br, gz] = await Promise.all([
        promisify(brotliCompress)(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }),
        promisify(gzip)(bytes, { level: 9 }),
      ]);
      sizes.set(name.replaceAll("\\", "/"), gz.length);
      await Promise.all([writeFile(`${path}.br`, br), writeFile(`${path}.gz`, gz)]);
    }),
  );
  const chunks = new Map(output.map((chunk) => [chunk.fileName, chunk]));
  const first = new Set(["index.html", "theme.js", "icon.svg"]);
  const visit = (name: string) => {
    if (first.has(name)) return;
    first.add(name);
    const chunk = chunks.get(name);
    if (chunk?.type === "chunk") chunk.imports.forEach(visit);
  };
  for (const chunk of output) if (chunk.type === "chunk" && chunk.isEntry) visit(chunk.fileName);
  for (const { fileName } of output) if (/^assets\/index-.*\.css$/.test(fileName)) first.add(fileName);
  const inputs = output
    .flatMap((chunk) => (chunk.type === "chunk" ? Object.keys(chunk.modules) : []))
    .map((path) => relative(root, path.replace(/^\0/, "")).replaceAll("\\", "/"))
    .filter((path) => path.startsWith("node_modules/"));
  return {
    firstLoadBytes: [...first].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0),
    inputs: [...inputs, "node_modules/tailwindcss/index.css"],
  };
}

/** zod's words in fifty languages; cerver's own are English. */
const englishOnly: Plugin = {
  name: "english-only",
  enforce: "pre",
  load: {
    filter: { id: /node_modules\/zod\/v4\/locales\/index\.js$/ },
    handler: () => 'export { default as en } from "./en.js";',
  },
};

/** Vite says of every script that is no module that it is left as it is. That is what public/theme.js is there for. */
const withoutWarning: Plugin = {
  name: "theme-is-no-module",
  transformIndexHtml: {
    order: "pre",
    handler: (html) => html.replace('<script src="./theme.js"></script>', ""),
  },
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      const page = bundle["index.html"];
      if (page?.type === "asset")
        page.source = String(page.source).replace(
          "<script ",
          '<script src="./theme.js"></script>\n    <script ',
        );
    },
  },
};
