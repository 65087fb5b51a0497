import type { lookup as systemLookup } from "node:dns";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ClientDocuments } from "./client-documents.js";

let server: Server;
let port: number;
let certificate: string;
let connections = 0;
/** Names lead to this machine, whatever they are. */
const lookup = ((_name: string, _options: object, done: (...found: unknown[]) => void) =>
  done(null, [{ address: "127.0.0.1", family: 4 }])) as unknown as typeof systemLookup;

beforeAll(async () => {
  certificate = await readFile(new URL("../../../test/fixtures/client.example.pem", import.meta.url), "utf8");
  server = createServer({ key: certificate, cert: certificate }, (request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    if (request.url === "/slow") return void response.write("{");
    const client_id = `https://client.example:${port}${request.url}`;
    response.end(
      JSON.stringify({ client_id, client_name: "Secure", redirect_uris: ["https://client.example/cb"] }),
    );
  }).on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const documents = (allowLoopback: boolean, ca: string | undefined = certificate) =>
  new ClientDocuments({ allowLoopback: () => allowLoopback, lookup, ...(ca && { ca }) });

test("a document is read over TLS, with the name that was asked for", async () => {
  expect(await documents(true).read(`https://client.example:${port}/c`)).toEqual({
    id: `https://client.example:${port}/c`,
    name: "Secure",
    host: `client.example:${port}`,
    redirectUris: ["https://client.example/cb"],
  });
});

test("a host that cannot prove its name is not read", async () => {
  await expect(documents(true).read(`https://other.example:${port}/c`)).rejects.toThrow(
    "ERR_TLS_CERT_ALTNAME_INVALID",
  );
  await expect(documents(true, "").read(`https://client.example:${port}/c`)).rejects.toThrow("SELF_SIGNED");
});

test("a name that leads to a private address is never connected to", async () => {
  const before = connections;
  await expect(documents(false).read(`https://client.example:${port}/c`)).rejects.toThrow(
    "client.example (127.0.0.1) is not a public address",
  );
  expect(connections).toBe(before);
});

test("a document that does not end is given up", async () => {
  await expect(documents(true).read(`https://client.example:${port}/slow`)).rejects.toThrow("within 5 s");
}, 10_000);

test("one host is not asked without end", async () => {
  const now = Date.now();
  const some = new ClientDocuments({ allowLoopback: () => true, lookup, ca: certificate, now: () => now });
  for (let i = 0; i < 30; i++) await some.read(`https://client.example:${port}/${i + 1}`);
  await expect(some.read(`https://client.example:${port}/31`)).rejects.toThrow("asked for too often");
  expect((await some.read(`https://client.example:${port}/30`)).name).toBe("Secure");
});
