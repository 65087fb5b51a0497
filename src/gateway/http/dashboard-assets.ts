import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CerverError } from "../../protocol/errors.js";

/** One file of the page, as it was built: its bytes, and the same compressed. */
export interface Asset {
  type: string;
  etag: string;
  /** Its name changes with its content. */
  isHashed: boolean;
  bytes: Uint8Array<ArrayBuffer>;
  br: Uint8Array<ArrayBuffer> | undefined;
  gzip: Uint8Array<ArrayBuffer> | undefined;
}

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".png": "image/png",
};

/** The files of the page by their path, such as `assets/index-x.js`: read when the page is first asked for, and kept. */
export class DashboardAssets {
  #read: Promise<Map<string, Asset>> | undefined;

  /** `undefined` when there is no such file; a failure when there is no page at all. */
  async find(path: string): Promise<Asset | undefined> {
    this.#read ??= readAll(folder()).catch((error: unknown) => {
      this.#read = undefined;
      throw error;
    });
    return (await this.#read).get(path);
  }
}

async function readAll(from: string): Promise<Map<string, Asset>> {
  const names = (await readdir(from, { recursive: true })).map((name) => name.replaceAll("\\", "/"));
  const there = new Set(names);
  const read = async (name: string) =>
    there.has(name) ? new Uint8Array(await readFile(join(from, name))) : undefined;
  const assets = await Promise.all(
    names
      .filter((name) => extname(name) in TYPES)
      .map(async (name): Promise<[string, Asset]> => {
        const bytes = (await read(name))!;
        const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
        const [br, gzip] = await Promise.all([read(`${name}.br`), read(`${name}.gz`)]);
        return [
          name,
          { type: TYPES[extname(name)]!, etag, isHashed: name.startsWith("assets/"), bytes, br, gzip },
        ];
      }),
  );
  return new Map(assets);
}

/** Beside the gateway's own bundle, or in the `dist` of the sources that run. */
function folder(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    const built = join(at, "dist", "dashboard");
    if (existsSync(join(built, "index.html"))) return built;
    if (dirname(at) === at) {
      throw new CerverError("unsupported", "This installation has no page.", {
        hint: "Build it with `npm run build`, or install cerver again. The API and the command line work without it.",
      });
    }
  }
}
