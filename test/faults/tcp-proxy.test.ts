import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Random } from "./random.js";
import { TcpProxy } from "./tcp-proxy.js";

/** A socket with what it received and how it closed. */
interface End {
  socket: Socket;
  received(): Buffer;
  ended(): boolean;
  closed(): boolean;
}

let server: Server;
let proxy: TcpProxy;
/** The target's sides of the connections, in order. */
let accepted: End[];

beforeEach(async () => {
  accepted = [];
  server = createServer((socket) => accepted.push(watched(socket))).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  proxy = await TcpProxy.listen((server.address() as { port: number }).port);
});
afterEach(async () => {
  await proxy.close();
  for (const { socket } of accepted) socket.destroy();
  server.close();
});

function watched(socket: Socket): End {
  const chunks: Buffer[] = [];
  let ended = false;
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("end", () => {
    ended = true;
  });
  socket.on("error", () => {});
  return {
    socket,
    received: () => Buffer.concat(chunks),
    ended: () => ended,
    closed: () => socket.destroyed,
  };
}

async function dial(): Promise<{ caller: End; target: End }> {
  const before = accepted.length;
  const caller = watched(connect(proxy.port, "127.0.0.1"));
  await expect.poll(() => accepted.length).toBe(before + 1);
  return { caller, target: accepted[before]! };
}

const bytes = new Random("proxy").bytes(3_000_000);

describe("a TCP proxy", () => {
  test("passes bytes and ends both ways, also many at once", async () => {
    const { caller, target } = await dial();
    caller.socket.write(bytes);
    target.socket.end("answer");
    await expect.poll(() => target.received().length).toBe(bytes.length);
    expect(target.received().equals(bytes)).toBe(true);
    await expect.poll(() => caller.ended()).toBe(true);
    expect(caller.received().toString()).toBe("answer");
    caller.socket.end();
    await expect.poll(() => proxy.openLinks).toBe(0);
    expect([caller.closed(), target.closed()]).toEqual([true, true]);
  });

  test("hands on that one side broke", async () => {
    const { caller, target } = await dial();
    caller.socket.resetAndDestroy();
    await expect.poll(() => target.closed()).toBe(true);
    expect(proxy.openLinks).toBe(0);
  });

  test("cuts at a byte, counted over both directions", async () => {
    const { caller, target } = await dial();
    const struck = proxy.cutAt({ afterBytes: 8, directions: ["up", "down"], kind: "end" });
    target.socket.write("12345");
    await expect.poll(() => caller.received().length).toBe(5);
    caller.socket.write("67890");
    await struck;
    await expect.poll(() => caller.closed() && target.closed()).toBe(true);
    expect(target.received().toString()).toBe("678");
  });

  test("leaves the other direction alone when a cut is for one", async () => {
    const { caller, target } = await dial();
    void proxy.cutAt({ afterBytes: 2, directions: ["down"], kind: "reset" });
    caller.socket.write("long enough");
    await expect.poll(() => target.received().toString()).toBe("long enough");
    target.socket.write("abc");
    await expect.poll(() => caller.closed()).toBe(true);
  });

  test("truncates the next piece, then breaks the connection", async () => {
    const { caller, target } = await dial();
    const struck = proxy.truncateNext(0.5, "up", "end");
    caller.socket.write("0123456789");
    await struck;
    await expect.poll(() => target.closed()).toBe(true);
    expect(target.received().toString()).toBe("01234");
  });

  test("stalls one way or both, and loses nothing when it goes on", async () => {
    const { caller, target } = await dial();
    proxy.stall(["up"]);
    caller.socket.end(bytes);
    target.socket.write("down");
    await expect.poll(() => caller.received().toString()).toBe("down");
    await sleep(50);
    expect(target.received().length).toBe(0);
    proxy.goOn();
    await expect.poll(() => target.ended()).toBe(true);
    expect(target.received().equals(bytes)).toBe(true);
  });

  test("a stall that is cut delivers nothing more", async () => {
    const { caller, target } = await dial();
    proxy.stall();
    caller.socket.write("never");
    await sleep(30);
    proxy.cutNow("reset");
    proxy.goOn();
    await expect.poll(() => target.closed()).toBe(true);
    expect(target.received().length).toBe(0);
  });

  test("delays, and keeps the order when the delay ends", async () => {
    const { caller, target } = await dial();
    proxy.delay(150);
    const began = performance.now();
    caller.socket.write("a");
    await sleep(20);
    proxy.delay(0);
    caller.socket.write("b");
    await expect.poll(() => target.received().toString(), { interval: 5 }).toBe("ab");
    expect(performance.now() - began).toBeGreaterThan(140);
  });

  test("refuses new connections until it is healed", async () => {
    proxy.refuse();
    const refused = watched(connect(proxy.port, "127.0.0.1"));
    await expect.poll(() => refused.closed()).toBe(true);
    expect(accepted.length).toBe(0);
    proxy.heal();
    await dial();
  });

  test("says the first bytes of a connection once more over another one", async () => {
    const { caller, target } = await dial();
    caller.socket.write("GET / HTTP/1.1\r\n");
    await expect.poll(() => target.received().length).toBe(16);
    expect(proxy.duplicate(0.5)).toBe(8);
    await expect.poll(() => accepted[1]?.received().toString()).toBe("GET / HT");
    accepted[1]!.socket.write("an answer that nobody hears");
    proxy.heal();
    await expect.poll(() => accepted[1]!.closed()).toBe(true);
    expect([caller.closed(), caller.received().length]).toEqual([false, 0]);
  });

  test("halves a connection: the target does not learn of it before it is healed", async () => {
    const { caller, target } = await dial();
    proxy.halve();
    await expect.poll(() => caller.closed()).toBe(true);
    target.socket.write("into the void");
    await sleep(50);
    expect([target.closed(), target.ended(), proxy.openLinks]).toEqual([false, false, 0]);
    proxy.heal();
    await expect.poll(() => target.closed()).toBe(true);
  });
});

test("the same name draws the same numbers and bytes, another one others", () => {
  const draws = (random: Random) => [
    random.int(0, 1e6),
    random.fork("a").int(0, 1e6),
    random.bytes(4).toString("hex"),
  ];
  expect(draws(new Random("1/x"))).toEqual(draws(new Random("1/x")));
  expect(draws(new Random("1/x"))).not.toEqual(draws(new Random("1/y")));
});
