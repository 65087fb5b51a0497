// Bundles the package into dist/: one entry, split chunks, each mode in chunks of its own.
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type BuildOptions, build, type Metafile, type Plugin } from "esbuild";
import { buildClient } from "./build-client.js";
import { buildDashboard } from "./build-dashboard.js";

const root = join(import.meta.dirname, "..");
const staging = join(root, `dist.${process.pid}`);
const dist = join(root, "dist");
/** The backends of secrets, and the libraries of their vendors. */
const SECRET_BACKEND =
  /^src\/secrets\/(?:\w+-(?:backend|op|sdk|settings|transport|store|program)|login-token|store-answer|store-failure)\.ts$|node_modules\/(?:@aws-sdk|@smithy|@infisical|@1password|google-auth-library|gaxios)\//;
const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };

export const options: BuildOptions = {
  absWorkingDir: root,
  entryPoints: {
    "cli/main": "src/cli/main.ts",
    "cli/serve-mcp": "src/cli/serve-mcp.ts",
    keeper: "src/relay/keeper/main.ts",
    keychain: "src/login/keychain-program.ts",
  },
  outdir: staging,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  chunkNames: "chunks/[name]-[hash]",
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  metafile: true,
  sourcemap: process.env.CERVER_SOURCEMAP === "1" ? "linked" : false,
  define: {
    __CERVER_VERSION__: JSON.stringify(version),
    // It speaks of next year's versions to whoever reads stderr.
    "process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": '"true"',
  },
  // CommonJS packages ask for Node's own modules with require.
  banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
  // Its CommonJS form asks for its own files in a way that no bundler follows.
  alias: { "jsonc-parser": "./node_modules/jsonc-parser/lib/esm/main.js" },
  // Native or optional: installed beside the package, or not at all.
  external: [
    "libsql",
    "@napi-rs/keyring",
    "pg-native",
    "pg-cloudflare",
    "cloudflare:sockets",
    "bufferutil",
    "utf-8-validate",
    "pino-pretty",
    // 14 MB of WebAssembly: whoever wants it installs it (ADR 15).
    "@1password/sdk",
  ],
  plugins: [withoutAwsLogin(), englishOnly()],
};

const { metafile } = await build(options);
refuseHeavyStart(
  metafile!,
  "cli/main.js",
  /^src\/(?:gateway|relay|sync|mcp|mcp-clients|tunnel)\/|node_modules\/(?:hono|kysely|ws|pino|zod|jsonc-parser|@modelcontextprotocol)\//,
);
refuseHeavyStart(metafile!, "cli/serve-mcp.js", /^src\/(?!cli\/|util\/|protocol\/errors)|node_modules\//);
refuseHeavyStart(metafile!, "keeper.js", /^src\/(?:gateway|mcp|tunnel|cli)\/|node_modules\//);
refuseHeavyStart(metafile!, "keychain.js", /^src\/(?!login\/keychain-program)|node_modules\//);
for (const mode of ["mcp", "relay"]) refuseHeavyStart(metafile!, `src/${mode}/start.ts`, SECRET_BACKEND);
const [dashboard] = await Promise.all([
  buildDashboard(root, join(staging, "dashboard")),
  buildClient(root, join(staging, "client")),
]);
const bundled = [...Object.keys(metafile!.inputs), ...dashboard.inputs];
await writeFile(join(staging, "THIRD_PARTY_LICENSES.txt"), await licences(bundled));
await rm(dist, { recursive: true, force: true });
await rename(staging, dist);
await removeOldStaging();
await report(metafile!);

/**
 * The login at Infisical with AWS's own credentials, which cerver does not have: the chain of them is left out of the bundle.
 *
 * What is called of it all the same says so.
 */
function withoutAwsLogin(): Plugin {
  return {
    name: "without-aws-login",
    setup(build) {
      const left =
        /^(?:@aws-sdk\/credential-providers|@aws-crypto\/sha256-js|@smithy\/(?:protocol-http|signature-v4))$/;
      build.onResolve({ filter: left }, ({ importer, path }) =>
        /node_modules\/@infisical\/sdk\//.test(importer) ? { path, namespace: "left-out" } : undefined,
      );
      build.onLoad({ filter: /.*/, namespace: "left-out" }, () => ({
        contents:
          'const none=()=>{throw new Error("The login with AWS credentials is not in cerver.")};' +
          "export{none as fromNodeProviderChain,none as Sha256,none as HttpRequest,none as SignatureV4};",
      }));
    },
  };
}

/** zod's words for what is wrong with a value, in fifty languages, are half of what every mode loads; cerver's own are English. */
function englishOnly(): Plugin {
  return {
    name: "english-only",
    setup(build) {
      build.onLoad({ filter: /node_modules\/zod\/v4\/locales\/index\.js$/ }, () => ({
        contents: 'export { default as en } from "./en.js";',
      }));
    },
  };
}

/**
 * An entry must not hold what it does not need at every start: modes are loaded when they are started.
 *
 * `entryName` is an entry's file in dist/, or the source file of a mode that is loaded by import().
 */
function refuseHeavyStart({ outputs }: Metafile, entryName: string, unwanted: RegExp): void {
  const entry = Object.keys(outputs).find(
    (path) => path.endsWith(`/${entryName}`) || outputs[path]!.entryPoint === entryName,
  )!;
  const loaded = new Set<string>();
  const visit = (path: string) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { path: next, kind } of outputs[path]?.imports ?? [])
      if (kind === "import-statement") visit(next);
  };
  visit(entry);
  const heavy = [...loaded].flatMap((path) =>
    Object.keys(outputs[path]?.inputs ?? {}).filter((input) => unwanted.test(input)),
  );
  if (heavy.length === 0) return;
  throw new Error(`${entryName} would load at every start:\n${[...new Set(heavy)].join("\n")}`);
}

/** The licence text of every package that is in the bundle. */
async function licences(inputs: readonly string[]): Promise<string> {
  const folders = new Set<string>();
  for (const input of inputs) {
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
    if (folder) folders.add(folder);
  }
  const texts = await Promise.all(
    [...folders].sort().map(async (folder) => {
      const about = JSON.parse(await readFile(join(root, folder, "package.json"), "utf8"));
      const file = (await readdir(join(root, folder))).find((name) => /^licen[cs]e/i.test(name));
      const text = file ? await readFile(join(root, folder, file), "utf8") : `Licence: ${about.license}\n`;
      return `${about.name} ${about.version} (${about.license})\n\n${text.trim()}\n`;
    }),
  );
  return `Parts of these packages are in this one.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

/** Folders of builds that were interrupted. */
async function removeOldStaging(): Promise<void> {
  for (const name of await readdir(root)) {
    if (!/^dist\.\d+$/.test(name)) continue;
    const { mtimeMs } = await stat(join(root, name));
    if (Date.now() - mtimeMs > 600_000) await rm(join(root, name), { recursive: true, force: true });
  }
}

async function report({ outputs }: Metafile): Promise<void> {
  await mkdir(dist, { recursive: true });
  const files = Object.entries(outputs).sort(([, a], [, b]) => b.bytes - a.bytes);
  const total = files.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  const first = (dashboard.firstLoadBytes / 1024).toFixed(1);
  process.stderr.write(
    `built dist: ${files.length} files, ${Math.round(total / 1024)} kB; the page's first load ${first} kB gzipped\n`,
  );
  if (process.argv.includes("--sizes")) {
    for (const [path, { bytes }] of files)
      process.stderr.write(`${String(Math.round(bytes / 1024)).padStart(6)} kB  ${basename(path)}\n`);
  }
}
