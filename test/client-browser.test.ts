import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);
const built = await readFile(join(import.meta.dirname, "../dist/client/index.js"), "utf8");

/** A page with as strict a policy as one that needs scripts can have. */
const PAGE = `<!doctype html><title>try</title><script type="module" src="/try.js"></script>`;
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'";
const PROGRAM = `import { GatewayClient } from "/client.js";
const cerver = new GatewayClient({ gatewayUrl: location.origin });
const told = (answer) => {
  document.body.append(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(answer) }));
};
try {
  const { session_id } = await cerver.createSession({ task: "from a page" });
  const events = [];
  for await (const event of cerver.runStream(session_id, { code: "printf '\\\\xff'; echo hi" })) events.push(event.type);
  const { sessions } = await cerver.sessions();
  told({ events, sessions: sessions.map(({ sessionName }) => sessionName) });
} catch (error) {
  told({ code: error.code, message: error.message });
}`;

describe.skipIf(!CHROMIUM)("the client in a page of the gateway", () => {
  let cerver: Cerver;
  let context: BrowserContext;
  let profile: string;
  beforeAll(async () => {
    cerver = await startCerver();
    profile = await mkdtemp(join(tmpdir(), "cerver-chromium-"));
    context = await chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM!,
      args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    });
    // The gateway has no such page yet, so these three files are put at its address; all else is the gateway's.
    const js = { contentType: "text/javascript" };
    await context.route("**/try.html", (route) =>
      route.fulfill({ contentType: "text/html", body: PAGE, headers: { "content-security-policy": POLICY } }),
    );
    await context.route("**/try.js", (route) => route.fulfill({ ...js, body: PROGRAM }));
    await context.route("**/client.js", (route) => route.fulfill({ ...js, body: built }));
  });
  afterAll(async () => {
    await context.close();
    await cerver.stop();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });

  const told = async () => {
    const page = await context.newPage();
    const said: string[] = [];
    page.on("console", (message) => said.push(message.text()));
    await page.goto(`${cerver.gateway.url}/try.html`);
    return { answer: JSON.parse(await page.locator("pre").innerText()), said };
  };

  test("is refused without a sign-in, in the gateway's words", async () => {
    expect((await told()).answer).toMatchObject({ code: "unauthenticated" });
  });

  test("works by the sign-in's cookie alone, and breaks no policy", async () => {
    const page = await context.newPage();
    await page.goto(await cerver.gateway.createSigninLink());
    await page.getByRole("button", { name: "Sign in" }).click();
    const { answer, said } = await told();
    expect(answer).toMatchObject({ events: ["start", "stdout", "exit"], sessions: ["from a page"] });
    expect(said.filter((text) => /policy|eval/i.test(text))).toEqual([]);
  });

  test("beside it the gateway's own address is a page for browsers, and a list for programs", async () => {
    const page = await context.newPage();
    await page.goto(cerver.gateway.url);
    expect(await page.locator("h1").innerText()).toBe("Sessions");
    const asked = async (accept: string) =>
      (await fetch(cerver.gateway.url, { headers: { accept } })).headers.get("content-type");
    expect(await asked("application/json")).toBe("application/json");
    expect(await asked("*/*")).toMatch(/^text\/html/);
    expect(await asked("text/html,application/json;q=0.9")).toMatch(/^text\/html/);
  });
});
