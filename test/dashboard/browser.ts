import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import type { Cerver } from "../harness.js";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  existsSync,
);
/** Whether this machine has a browser to test with. */
export const hasBrowser = CHROMIUM !== undefined;

/** A browser of one test file, and what went wrong in its pages. */
export interface Browser {
  context: BrowserContext;
  /** What pages said on the console that breaks the policy or is an uncaught error. It has to stay empty. */
  complaints: string[];
  /** A page that is signed in to the gateway, at an address such as `#sessions`. */
  open(cerver: Cerver, hash?: string): Promise<Page>;
  /** A page of a browser that is not signed in. */
  openStranger(cerver: Cerver, hash?: string): Promise<Page>;
  close(): Promise<void>;
}

export async function startBrowser(): Promise<Browser> {
  const profile = await mkdtemp(join(tmpdir(), "cerver-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM!,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    viewport: { width: 1280, height: 800 },
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  context.on("page", (page) => {
    page.on("console", (message) => {
      if (/policy|refused to/i.test(message.text())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("dialog", (dialog) => {
      complaints.push(`a script ran: ${dialog.message()}`);
      void dialog.dismiss();
    });
  });
  let signedInTo: string | undefined;
  return {
    context,
    complaints,
    async open(cerver, hash = "") {
      const page = await context.newPage();
      if (signedInTo !== cerver.gateway.url) {
        await page.goto(await cerver.gateway.createSigninLink());
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.waitForURL(`${cerver.gateway.url}/`);
        signedInTo = cerver.gateway.url;
      }
      await page.goto(`${cerver.gateway.url}/${hash}`);
      return page;
    },
    async openStranger(cerver, hash = "") {
      await context.clearCookies();
      signedInTo = undefined;
      const page = await context.newPage();
      await page.goto(`${cerver.gateway.url}/${hash}`);
      return page;
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

const axe = await readFile(join(import.meta.dirname, "../../node_modules/axe-core/axe.min.js"), "utf8");

/** axe-core's serious findings on what a page shows now, in both themes, are none. */
export async function expectAccessible(page: Page): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    // The page's policy lets no other script in; the debugger's protocol asks no policy.
    await page.evaluate(axe);
    const findings = await page.evaluate(async () => {
      const { violations } = await (globalThis as any).axe.run({ resultTypes: ["violations"] });
      return violations
        .filter(({ impact }: { impact: string }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] }) => ({
          id,
          nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
        }));
    });
    expect(findings, `in the ${colorScheme} theme`).toEqual([]);
  }
  await page.emulateMedia({ colorScheme: null });
}

/** At the width of a phone nothing makes the page scroll sideways. */
export async function expectFitsAPhone(page: Page): Promise<void> {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(
    "[document.documentElement, document.querySelector('main')].map((one) => one.scrollWidth - one.clientWidth)",
  );
  expect(wide).toEqual([0, 0]);
  await page.setViewportSize({ width: 1280, height: 800 });
}
