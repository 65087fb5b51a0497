import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { apiKey, openCredentialStore } from "../src/login/credential-store.js";
import { isLock, takeLock } from "../src/util/lock-file.js";
import { type Cerver, startCerver } from "./harness.js";
import { press, signInByHttp } from "./oauth-flow.js";
import { type Home, newHome } from "./run-cerver.js";
import { SecretService } from "./secret-service.js";

const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");

/** Elsewhere the keychain is the person's own. */
const isLinux = process.platform === "linux";

let cerver: Cerver;
let service: SecretService;
let home: Home;
/** What a person has who sits at this desktop. */
let env: Record<string, string>;
beforeAll(async () => {
  if (!isLinux) return;
  cerver = await startCerver({ relay: false });
  service = await SecretService.start();
  await service.keyring("unlocked");
  home = await newHome();
  env = { ...service.env, CERVER_CREDENTIALS: "" };
});
afterAll(async () => {
  await home?.remove();
  await service?.stop();
  await cerver?.stop();
});

/** `cerver login`, approved in a browser; what it said at the end. */
async function logIn(more: Record<string, string> = {}): Promise<string> {
  const login = home.start(["login", "--gateway", cerver.gateway.url], { ...env, ...more });
  const [page, code] = await login.prints(/http:\S+\/approve\?code=(\S+)/);
  await press(page, await signInByHttp(cerver), { code: code! });
  expect(await login.exited).toMatchObject({ code: 0 });
  return login.stderr();
}

/** The files of the home that have a text in them. */
function filesWith(text: string): string {
  // Nothing found is its exit code 1.
  return execFileSync("sh", [
    "-c",
    'grep -rlF -- "$1" "$2" || [ $? = 1 ]',
    "sh",
    text,
    home.folder,
  ]).toString();
}

const kept = () => home.run(["whoami", "--json"], { env });
const storeIn = (folder: string, more: Record<string, string> = {}) =>
  openCredentialStore({ configDir: join(home.folder, folder), env: { ...env, ...more } });

describe.runIf(isLinux)("a keychain that works", () => {
  let token: string;
  test("keeps the token of a login, which is in no file", async () => {
    expect(await logIn()).toContain(
      `Logged in to ${cerver.gateway.url}. The token is in the login keychain.`,
    );
    const values = await service.values();
    expect(values).toEqual([expect.stringMatching(/^ck_/)]);
    token = values[0]!;
    expect(filesWith(token)).toBe("");
    expect(filesWith("keychain:api:")).toContain("credentials.json");
  });

  test("gives it to commands and to cerver mcp, which say where it is from", async () => {
    expect(JSON.parse((await kept()).stdout)).toMatchObject({ token_from: "stored", scopes: ["run"] });
    const mcp = new Client({ name: "test", version: "1" });
    await mcp.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [BIN, "mcp"],
        env: { ...home.env, ...env },
        stderr: "pipe",
      }),
    );
    const answer = await mcp.callTool({ name: "cerver_session_list", arguments: {} });
    await mcp.close();
    expect(answer).toMatchObject({ structuredContent: { sessions: [] } });
  });

  test("is what an installed MCP server reads: its entry names no token and no variable", async () => {
    const { stdout } = await home.run(["mcp", "install", "--client", "cursor", "--json", "--yes"], { env });
    expect(JSON.parse(stdout)).toMatchObject({ action: "add", holds_token: false, needs_login: false });
    expect(filesWith(token)).toBe("");
  });

  test("is seen by the doctor", async () => {
    const { stdout } = await home.run(["doctor", "--json"], { env });
    const checks = JSON.parse(stdout).checks as { name: string; status: string; what: string }[];
    const of = (name: string) => checks.find((one) => one.name === name);
    expect(of("keychain")).toMatchObject({ status: "ok" });
    expect(of("login")!.what).toMatch(/ is in the login keychain$/);
    expect(await service.values()).toEqual([token]);
  });

  test("forgets it with a logout, which revokes it", async () => {
    const { stderr } = await home.run(["logout"], { env });
    expect(stderr).toContain("the token is revoked and forgotten");
    expect(await service.values()).toEqual([]);
    const refused = new GatewayClient({ gatewayUrl: cerver.gateway.url, token }).whoami();
    await expect(refused).rejects.toMatchObject({ code: "unauthenticated" });
  });

  test("takes over what is in the file with the next write, and reads the file until then", async () => {
    const inFile = storeIn("moving", { CERVER_CREDENTIALS: "file" });
    await inFile.set("api:http://one", "first");
    const store = storeIn("moving");
    expect(await store.get("api:http://one")).toBe("first");
    expect(await store.set("api:http://two", "second")).toBe("the login keychain");
    expect((await service.values()).sort()).toEqual(["first", "second"]);
    expect((await store.places()).keysInKeychain).toEqual(["api:http://one", "api:http://two"]);
    expect([await store.get("api:http://one"), await store.get("api:http://two")]).toEqual([
      "first",
      "second",
    ]);
    // Back again, one by one.
    expect(await inFile.set("api:http://one", "first")).toContain("as CERVER_CREDENTIALS asks for");
    expect(await service.values()).toEqual(["second"]);
    // What a service needs while nobody is there.
    const ofService = openCredentialStore({ configDir: join(home.folder, "moving"), env, unattended: true });
    expect(await ofService.get("api:http://two")).toBe("second");
    expect(await ofService.set("api:http://two", "second")).toContain("because a service starts before");
    expect(await service.values()).toEqual([]);
    const elsewhere = storeIn("moving", { DBUS_SESSION_BUS_ADDRESS: "unix:path=/nowhere" });
    expect(await elsewhere.get("api:http://two")).toBe("second");
  });

  test("loses nothing when a write is cut off before its last step", async () => {
    const store = storeIn("cut");
    await store.set("key", "before");
    const lock = await takeLock(join(home.folder, "cut", "credentials.json.lock"), "test");
    await expect(store.set("key", "after")).rejects.toThrow("keeps the credentials locked");
    expect(await store.get("key")).toBe("before");
    if (isLock(lock)) await lock.release();
    await store.set("key", "after");
    expect(await store.get("key")).toBe("after");
    expect(await service.values()).toEqual(["after"]);
    await store.delete("key");
  });
});

describe.runIf(isLinux)("a keychain that does not", () => {
  beforeEach(() => service.keyring("unlocked"));

  test("that is locked is not read and not guessed around, and a login then goes to the file and says why", async () => {
    const key = apiKey(cerver.gateway.url);
    expect(await storeIn(".config/cerver").set(key, cerver.token)).toBe("the login keychain");
    await service.keyring("locked");
    const whoami = await kept();
    expect(whoami.code).toBe(1);
    expect(whoami.stderr).toContain("The token is in the login keychain, which cannot be read, because");
    expect(whoami.stderr).toContain("CERVER_CREDENTIALS=file");
    expect(await logIn()).toMatch(
      /The token is in the file \S.*credentials\.json, readable by you alone, because the keychain could not be used: /,
    );
    expect(JSON.parse((await kept()).stdout)).toMatchObject({ token_from: "stored" });
    expect(filesWith("keychain:api:")).toBe("");
  });

  test("that is not there leaves the file, and CERVER_CREDENTIALS=keychain refuses instead", async () => {
    await service.endKeyring();
    const store = storeIn("none");
    expect(await store.set("key", "value")).toContain(
      "readable by you alone, because the keychain could not be used",
    );
    expect(
      await storeIn("none", { DBUS_SESSION_BUS_ADDRESS: "", XDG_RUNTIME_DIR: home.folder }).set(
        "other",
        "value",
      ),
    ).toContain("because this session has no D-Bus");
    const demanded = storeIn("demanded", { CERVER_CREDENTIALS: "keychain" });
    await expect(demanded.set("key", "value")).rejects.toThrow(
      /^Nothing was kept in the login keychain, because the keychain could not be used/,
    );
    expect(await demanded.where("key")).toBeUndefined();
    await expect(storeIn("none", { CERVER_CREDENTIALS: "cloud" }).set("key", "v")).rejects.toThrow(
      'CERVER_CREDENTIALS: "cloud" is not a place for credentials.',
    );
  });

  test("that answers nobody is given up, and its program ended", async () => {
    await service.endKeyring();
    const deaf = createServer((socket) => socket.resume().on("error", () => {}));
    const path = join(home.folder, "deaf");
    await new Promise<void>((resolve) => deaf.listen(path, resolve));
    const store = storeIn("deaf-config", {
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${path.replaceAll(" ", "%20")}`,
      CI: "1",
    });
    expect(await store.set("key", "value")).toContain("because the keychain did not answer within 10 s");
    expect(await store.get("key")).toBe("value");
    await expect
      .poll(() => new Promise((resolve) => deaf.getConnections((_, count) => resolve(count))))
      .toBe(0);
    await new Promise((resolve) => deaf.close(resolve));
  });

  test("is not asked when the environment has the token", async () => {
    const key = apiKey(cerver.gateway.url);
    await openCredentialStore({ configDir: join(home.folder, ".config", "cerver"), env }).set(
      key,
      "ck_elsewhere",
    );
    await service.endKeyring();
    const { code, stdout } = await home.run(["whoami", "--json", "--gateway", cerver.gateway.url], {
      env: { ...env, CERVER_API_TOKEN: cerver.token },
    });
    expect({ code, from: JSON.parse(stdout).token_from }).toEqual({ code: 0, from: "env" });
  });
});
