// Writes docs/openapi.json from the schemas, and the client's types from that; with --check it only says whether they are
// current.
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { apiDocument } from "../src/gateway/http/openapi/document.js";
import { wireTypes } from "./wire-types.js";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
const document = apiDocument(version);
const types = "src/client/wire.ts";

const files = {
  "docs/openapi.json": `${JSON.stringify(document, null, 1)}\n`,
  [types]: formatted(wireTypes(document.components.schemas)),
};

for (const [path, text] of Object.entries(files)) {
  const target = join(root, path);
  if (!process.argv.includes("--check")) await writeFile(target, text);
  else if ((await readFile(target, "utf8").catch(() => "")) !== text) {
    console.error(`${path} is not current: run \`npm run docs\` and commit it.`);
    process.exitCode = 1;
  }
}

function formatted(text: string): string {
  const biome = join(root, "node_modules/.bin/biome");
  const { status, stdout, stderr } = spawnSync(biome, ["format", `--stdin-file-path=${types}`], {
    cwd: root,
    input: text,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}
