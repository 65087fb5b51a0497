import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "../harness.js";
import { type Browser, expectAccessible, expectFitsAPhone, hasBrowser, startBrowser } from "./browser.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(() => cerver.stop());

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(cerver.gateway.url + path, { headers, redirect: "manual" });

describe("the page's files", () => {
  test("are served with a policy that lets nothing in but themselves", async () => {
    const answer = await get("/");
    const html = await answer.text();
    expect(answer.headers.get("content-security-policy")).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    expect(html).not.toMatch(/<script(?![^>]* src=)|<style|style=|\son\w+=/);
  });

  test("are kept for good where their name changes with them, and asked for again where not", async () => {
    const page = await get("/");
    const script = /src="\.(\/assets\/[^"]+\.js)"/.exec(await page.text())![1]!;
    expect((await get(script)).headers.get("cache-control")).toContain("immutable");
    expect(page.headers.get("cache-control")).toBe("no-cache");
    const again = await get("/", { "if-none-match": page.headers.get("etag")! });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  });

  test("go out compressed as a browser can read them, and nothing else of the disk does", async () => {
    const script = /src="\.(\/assets\/[^"]+\.js)"/.exec(await (await get("/")).text())![1]!;
    const texts = await Promise.all(
      ["br", "gzip", "identity"].map(async (coding) => {
        const answer = await get(script, { "accept-encoding": coding });
        expect(answer.headers.get("content-encoding")).toBe(coding === "identity" ? null : coding);
        return answer.text();
      }),
    );
    expect(new Set(texts).size).toBe(1);
    for (const path of ["/assets/..%2f..%2fkeeper.js", "/assets/index.html", `${script}.br`])
      expect((await get(path)).status).toBe(404);
  });

  test("an address of earlier versions leads to the session", async () => {
    const answer = await get("/sessions/sess_1");
    expect([answer.status, answer.headers.get("location")]).toEqual([302, "/#sessions/sess_1"]);
  });

  test("weigh less than 150 kB before anything shows", async () => {
    const html = await (await get("/")).text();
    const entry = /src="\.(\/assets\/[^"]+\.js)"/.exec(html)![1]!;
    const names = [...html.matchAll(/(?:src|href)="\.(\/[^"]+)"/g)].map(([, name]) => name!);
    const dist = join(import.meta.dirname, "../../dist/dashboard");
    const imported = [...(await readFile(join(dist, entry), "utf8")).matchAll(/from"\.\/([^"]+)"/g)].map(
      ([, name]) => `/assets/${name}`,
    );
    const sizes = await Promise.all(
      ["/index.html", ...names, ...imported].map(
        async (name) => (await readFile(join(dist, `${name}.gz`))).length,
      ),
    );
    expect(sizes.length).toBeGreaterThan(3);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(150_000);
  });
});

describe.skipIf(!hasBrowser)("the page", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser.close());
  afterEach(() => expect(browser.complaints).toEqual([]));

  test("says to a stranger how to sign in", async () => {
    const page = await browser.openStranger(cerver);
    await page.getByRole("heading", { name: "Sign in to this cerver gateway" }).waitFor();
    expect(await page.getByText("cerver signin-link").isVisible()).toBe(true);
    await expectAccessible(page);
    await expectFitsAPhone(page);
  });

  test("lists sessions, newest first, and shows what others do while they do it", async () => {
    const page = await browser.open(cerver);
    await page.getByText("No sessions yet").waitFor();
    await cerver.client.createSession({ session_name: "first" });
    const rows = page.getByRole("list", { name: "Sessions" }).getByRole("listitem");
    await rows.filter({ hasText: "first" }).waitFor();
    const second = await cerver.client.createSession({ session_name: "<img src=x onerror=alert(1)>" });
    await rows.filter({ hasText: "<img src=x" }).waitFor();
    expect(await rows.first().innerText()).toContain("<img src=x");
    await expectAccessible(page);
    await expectFitsAPhone(page);
    await cerver.client.closeSession(second.session_id);
    await rows.first().getByText("ended").waitFor();
  });

  test("is used by keys alone", async () => {
    const page = await browser.open(cerver, "#computes");
    await page.getByText("test-host").waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).getByText("Go to Sessions").waitFor();
    await expectAccessible(page);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("g");
    await page.keyboard.press("s");
    await page.getByRole("list", { name: "Sessions" }).waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "first", level: 1 }).waitFor();
  });

  test("keeps the theme that a person chose", async () => {
    const page = await browser.open(cerver);
    const background = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const light = await background();
    await page.getByText("Dark", { exact: true }).click();
    expect(await background()).not.toBe(light);
    await page.reload();
    await page.getByRole("list", { name: "Sessions" }).waitFor();
    expect(await background()).not.toBe(light);
    await page.getByText("Auto", { exact: true }).click();
    expect(await background()).toBe(light);
  });

  test("tells of a relay that goes and comes back, without a reload", async () => {
    const page = await browser.open(cerver, "#computes");
    await page.getByText("ready", { exact: true }).waitFor();
    await cerver.relay!.stop();
    await page.getByText("offline", { exact: true }).waitFor();
    await cerver.attachRelay();
    await page.getByText("ready", { exact: true }).waitFor();
  });
});
