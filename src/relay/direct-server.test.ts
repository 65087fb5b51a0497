import { Server } from "node:http";
import { expect, test, vi } from "vitest";
import { silentLogger } from "../util/logger.js";
import { directServer } from "./direct-server.js";

test("a request's body may take as long as it likes, its head may not", async () => {
  const listen = vi.spyOn(Server.prototype, "listen");
  const serve = async () => new Response();
  const { close } = await directServer({
    host: "127.0.0.1",
    port: 0,
    token: "t",
    names: [],
    serve,
    logger: silentLogger,
  });
  const [server] = listen.mock.contexts as Server[];
  expect(server).toMatchObject({ requestTimeout: 0, headersTimeout: 60_000 });
  await close();
  listen.mockRestore();
});
