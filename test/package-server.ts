import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { basename } from "node:path";

/** One version of a package in the registry. */
export interface Packed {
  name: string;
  version: string;
  file: string;
  optionalDependencies?: Record<string, string>;
}

/**
 * What an installer downloads from, on loopback: a registry as npm speaks to one, and the folder of a line of Node.
 *
 * It answers as a proxy too: whatever host is asked for, it is this one.
 */
export interface PackageServer {
  url: string;
  registry: string;
  /** Requests so far, as they were sent: a path, or what a proxy is asked for, a whole URL. */
  requests: string[];
  /** Begins to send packages, and never ends. */
  stall: boolean;
  /** What SHASUMS256.txt holds. */
  sums: string;
  stop(): Promise<void>;
}

export async function startPackageServer(packages: Packed[], archive: string) {
  const requests: string[] = [];
  const server: Server = createServer((request, response) => {
    requests.push(request.url!);
    const path = decodeURIComponent(new URL(request.url!, "http://localhost").pathname);
    answer(path).then(
      (body) => {
        if (body === undefined) return response.writeHead(404).end('{"error":"not found"}');
        response.writeHead(200, { "content-length": body.length });
        if (!told.stall || !path.endsWith(".tgz")) return response.end(body);
        response.write(body.subarray(0, 1000));
      },
      (error: unknown) => response.destroy(error as Error),
    );
  });

  async function answer(path: string): Promise<Buffer | undefined> {
    if (path.endsWith("/SHASUMS256.txt")) return Buffer.from(told.sums);
    if (path.endsWith(`/${basename(archive)}`)) return readFile(archive);
    const wanted = packages.find(({ file }) => path === `/npm/-/${basename(file)}`);
    if (wanted) return readFile(wanted.file);
    const versions = packages.filter(({ name }) => path === `/npm/${name}`);
    return versions.length > 0 ? packument(versions) : undefined;
  }

  async function packument(versions: Packed[]): Promise<Buffer> {
    const entries = versions.map(async ({ name, version, file, optionalDependencies }) => {
      const integrity = `sha512-${createHash("sha512")
        .update(await readFile(file))
        .digest("base64")}`;
      const dist = { tarball: `${told.registry}-/${basename(file)}`, integrity };
      const bin = { cerver: "bin/cerver.js", "cerver-mcp": "bin/cerver.js" };
      return [version, { name, version, bin, optionalDependencies, dist }] as const;
    });
    return Buffer.from(
      JSON.stringify({
        name: versions[0]!.name,
        "dist-tags": { latest: versions.at(-1)!.version },
        versions: Object.fromEntries(await Promise.all(entries)),
      }),
    );
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const told: PackageServer = {
    url,
    registry: `${url}/npm/`,
    requests,
    stall: false,
    sums: "",
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return told;
}
