import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { deviceLogin } from "../src/login/device-login.js";
import { type Cerver, startCerver } from "./harness.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver({ relay: false });
});
afterAll(() => cerver.stop());

const device = (method: string, query = "", body?: unknown) =>
  fetch(`${cerver.gateway.url}/v2/auth/device${query}`, {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    }),
  });
const start = async (body: object = { machine_name: "a machine" }) =>
  (await (await device("POST", "", body)).json()) as any;
const poll = async (code: string) => {
  const response = await device("GET", `?device_code=${encodeURIComponent(code)}`);
  return { status: response.status, body: (await response.json()) as any };
};

describe("the machine's side (RFC 8628, in the contract's words)", () => {
  test("begins with two codes, an address, a life and an interval", async () => {
    const login = await start();
    expect(login).toEqual({
      device_code: expect.stringMatching(/^[\w-]{43}$/),
      user_code: expect.stringMatching(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/),
      verification_uri: `${cerver.gateway.url}/approve?code=${login.user_code}`,
      expires_in: 900,
      interval: 5,
    });
  });

  test("waits with 202, slows down who asks too often, and names what it does not know below 400", async () => {
    const { device_code } = await start();
    expect(await poll(device_code)).toEqual({ status: 202, body: { error: "authorization_pending" } });
    expect(await poll(device_code)).toEqual({ status: 202, body: { error: "slow_down", interval: 10 } });
    expect(await poll("unknown")).toEqual({ status: 200, body: { error: "invalid_device_code" } });
  });

  test("says which scope it does not know", async () => {
    const response = await device("POST", "", { machine_name: "x", scopes: ["root"] });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: expect.stringMatching(/^scopes\.0: /) });
  });

  test("keeps no code in clear", async () => {
    const login = await start();
    const { openDatabase } = await import("../src/gateway/store/database.js");
    const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
    const rows = JSON.stringify(await db.selectFrom("device_logins").selectAll().execute());
    await db.destroy();
    expect(rows).not.toContain(login.device_code);
    expect(rows).not.toContain(login.user_code.replace("-", ""));
  });
});

describe.skipIf(!CHROMIUM)("the person's side, in a real browser", () => {
  let context: BrowserContext;
  let profile: string;
  beforeEach(async () => {
    profile = await mkdtemp(join(tmpdir(), "cerver-chromium-"));
    context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM!,
      args: [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
  });
  afterEach(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  const signIn = async () => {
    const page = context.pages()[0] ?? (await context.newPage());
    await page.goto(await cerver.gateway.createSigninLink());
    await page.getByRole("button", { name: "Sign in" }).click();
    return page;
  };

  test("approves: the machine gets a token that works, once", async () => {
    const login = await start({ machine_name: "mac mini <script>alert(1)</script>", scopes: ["run"] });
    const page = await signIn();
    await page.goto(login.verification_uri);
    const text = await page.locator("main").innerText();
    expect(text).toContain("mac mini <script>alert(1)</script>");
    expect(text).toContain(login.user_code);
    expect(text).toContain("127.0.0.1");
    expect(text).toContain("just now");
    await page.getByRole("button", { name: "Approve" }).click();
    expect(await page.locator("h1").innerText()).toBe("Approved");
    const { body } = await poll(login.device_code);
    expect(body).toMatchObject({
      status: "approved",
      access_token: expect.stringMatching(/^ck_/),
      account_id: "acct_local",
    });
    expect(await poll(login.device_code)).toEqual({ status: 200, body: { error: "invalid_device_code" } });
    const client = new GatewayClient({ gatewayUrl: cerver.gateway.url, token: body.access_token });
    expect((await client.whoami()).scopes).toEqual(["run"]);
  });

  test("denies: the machine is told, below 400", async () => {
    const login = await start();
    const page = await signIn();
    await page.goto(login.verification_uri);
    await page.getByRole("button", { name: "Deny" }).click();
    expect(await page.locator("h1").innerText()).toBe("Denied");
    expect(await poll(login.device_code)).toEqual({ status: 200, body: { error: "access_denied" } });
  });

  test("signs in first when need be, and comes back to the approval", async () => {
    const login = await start();
    const page = context.pages()[0]!;
    await page.goto(login.verification_uri);
    expect(await page.locator("main").innerText()).toContain("cerver signin-link");
    await page.goto(await cerver.gateway.createSigninLink());
    await page.getByRole("button", { name: "Sign in" }).click();
    expect(await page.locator(".code").innerText()).toBe(login.user_code);
    // The next login finds the browser signed in, also when the address is typed.
    await page.goto(`${cerver.gateway.url}/approve`);
    await page.getByLabel("The code").fill(login.user_code.toLowerCase().replace("-", ""));
    await page.getByRole("button", { name: "Continue" }).click();
    expect(await page.locator(".code").innerText()).toBe(login.user_code);
  });

  test("a sign-in link works once", async () => {
    const link = await cerver.gateway.createSigninLink();
    const page = context.pages()[0]!;
    await page.goto(link);
    await page.getByRole("button", { name: "Sign in" }).click();
    expect(await page.locator("h1").innerText()).toBe("Sessions");
    await page.goto(link);
    expect(await page.locator("h1").innerText()).toBe("This link does not work any more");
  });

  test("the pages run no script, stand in no frame, and the cookie is out of a script's reach", async () => {
    const page = await signIn();
    const response = await page.goto(`${cerver.gateway.url}/approve`);
    const headers = response!.headers();
    expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
    expect(headers["content-security-policy"]).toContain("default-src 'none'");
    expect(headers["x-frame-options"]).toBe("DENY");
    const [cookie] = (await context.cookies()).filter(({ name }) => name === "cerver_signin");
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
  });

  test("what another site makes the browser send is refused", async () => {
    const login = await start();
    await signIn();
    const cookies = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
    const post = (headers: Record<string, string>, body: string) =>
      fetch(`${cerver.gateway.url}/approve`, {
        method: "POST",
        headers: { cookie: cookies, "content-type": "application/x-www-form-urlencoded", ...headers },
        body,
      });
    const form = `code=${login.user_code}&decision=approve`;
    expect((await post({ origin: "https://evil.example" }, form)).status).toBe(403);
    expect((await post({ origin: cerver.gateway.url }, form)).status).toBe(403);
    expect((await poll(login.device_code)).body).toEqual({ error: "authorization_pending" });
    const session = (headers: Record<string, string>) =>
      fetch(`${cerver.gateway.url}/v2/sessions`, {
        method: "POST",
        headers: { cookie: cookies, "content-type": "application/json", ...headers },
        body: '{"compute":null}',
      });
    expect((await session({ origin: "https://evil.example" })).status).toBe(401);
    expect((await session({})).status).toBe(401);
    expect((await session({ origin: cerver.gateway.url })).status).toBe(201);
  });

  test("five wrong codes lock the visitor out", async () => {
    const own = await startCerver({ relay: false });
    const page = context.pages()[0]!;
    await page.goto(await own.gateway.createSigninLink());
    await page.getByRole("button", { name: "Sign in" }).click();
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++)
      statuses.push((await page.goto(`${own.gateway.url}/approve?code=BBBB-BBBB`))!.status());
    expect(statuses).toEqual([404, 404, 404, 404, 404, 429]);
    expect(await page.locator("main").innerText()).toContain("Too many wrong codes");
    await own.stop();
  });

  test("a relay logs in, serves, and the page shows it and its sessions", async () => {
    const page = await signIn();
    const said: string[] = [];
    const login = deviceLogin({
      client: new GatewayClient({ gatewayUrl: cerver.gateway.url }),
      machineName: "studio",
      scopes: ["relay"],
      openBrowser: async (url) => {
        await page.goto(url);
        await page.getByRole("button", { name: "Approve" }).click();
        return true;
      },
      say: (line) => said.push(line),
      signal: new AbortController().signal,
    });
    const { token } = await login;
    expect(said.join("\n")).toContain("/approve?code=");
    const relay = await cerver.attachRelay({ token, name: "studio" });
    const id = await cerver.session({ session_name: "<b>bold</b>" });
    await cerver.client.run(id, { code: "echo '<img src=x onerror=alert(1)>'" });
    await page.goto(`${cerver.gateway.url}/#computes`);
    await page.getByRole("listitem").filter({ hasText: "studio" }).getByText("ready").waitFor();
    await page.goto(`${cerver.gateway.url}/#sessions`);
    await page.getByRole("link", { name: "<b>bold</b>" }).click();
    await page.getByRole("heading", { name: "<b>bold</b>" }).waitFor();
    expect(await page.locator("main").innerText()).toContain("<img src=x onerror=alert(1)>");
    await relay.stop();
    await page.goto(`${cerver.gateway.url}/#computes`);
    await page.getByRole("listitem").filter({ hasText: "studio" }).getByText("offline").waitFor();
  }, 60_000);
});
