// What redaction costs, and what it takes out of ordinary text: `npx tsx bench/redaction.ts FOLDER...`, where the folders hold
// texts without credentials. Processor time of one core, so that other work on the machine matters less.
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Redaction } from "../src/redaction/redaction.js";

const CHUNK_BYTES = 64 * 1024;
const CORPUS_BYTES = 25_000_000;

const corpora: Record<string, Buffer> = {
  "source code and prose": files(process.argv.slice(2), CORPUS_BYTES),
  base64: Buffer.from(randomBytes((CORPUS_BYTES / 5) * 0.75).toString("base64")),
  "base64 in lines": Buffer.from(
    randomBytes((CORPUS_BYTES / 5) * 0.75)
      .toString("base64")
      .replace(/.{76}/g, "$&\n"),
  ),
  hashes: Buffer.from(
    Array.from({ length: CORPUS_BYTES / 5 / 98 }, (_, i) => {
      const hash = createHash("sha256").update(String(i)).digest("hex");
      return `${hash}  build/asset-${hash.slice(0, 8)}.js\n`.padEnd(97, " ");
    }).join("\n"),
  ),
  "log lines": Buffer.from(
    Array.from(
      { length: CORPUS_BYTES / 5 / 80 },
      (_, i) => `2026-01-01T00:00:00.${i % 1000}Z INFO GET http://localhost:3000/items/${i} 200 ${i % 97} ms`,
    ).join("\n"),
  ),
  "short lines": Buffer.from("y\n".repeat(CORPUS_BYTES / 10)),
};
const secrets = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ name: `S${i}`, value: randomBytes(30).toString("base64") }));
const looks = {
  shapes: new Redaction("all"),
  "and 3 secrets": new Redaction("all", secrets(3)),
  "and 100 secrets": new Redaction("all", secrets(100)),
};

let bytes = 0;
let found = 0;
for (const [name, corpus] of Object.entries(corpora)) {
  const speeds = Object.entries(looks).map(([what, redaction]) => `${what} ${speed(redaction, corpus)}`);
  const redactor = looks.shapes.stream();
  redactor.push(corpus);
  redactor.end();
  bytes += corpus.length;
  found += redactor.found;
  console.log(
    `${name}: ${(corpus.length / 1e6).toFixed(0)} MB, ${redactor.found} found; MB/s: ${speeds.join(", ")}`,
  );
}
console.log(`${found} found in ${(bytes / 1e6).toFixed(0)} MB`);

/** The second of two passes, in MB for each second of processor time. */
function speed(redaction: Redaction, corpus: Buffer): string {
  let seconds = 0;
  for (let pass = 0; pass < 2; pass++) {
    const before = process.cpuUsage();
    const redactor = redaction.stream();
    for (let at = 0; at < corpus.length; at += CHUNK_BYTES)
      redactor.push(corpus.subarray(at, at + CHUNK_BYTES));
    redactor.end();
    const { user, system } = process.cpuUsage(before);
    seconds = (user + system) / 1e6;
  }
  return (corpus.length / 1e6 / seconds).toFixed(0);
}

function files(folders: readonly string[], limit: number): Buffer {
  const texts: Buffer[] = [];
  let size = 0;
  for (const folder of folders)
    for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (size >= limit) break;
      if (!file.isFile() || !/\.(?:[cm]?[jt]s|md|json|map|py|txt)$/.test(file.name)) continue;
      const text = readFileSync(join(file.parentPath, file.name));
      texts.push(text);
      size += text.length;
    }
  return Buffer.concat(texts).subarray(0, limit);
}
