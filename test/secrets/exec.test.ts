import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";

const CANARY = "canary-9f8e7d6c";
const folder = mkdtempSync(join(tmpdir(), "secrets-exec-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A real program; what it is asked for chooses how it ends. It says the canary on stderr each time. */
const program = join(folder, "give.sh");
writeFileSync(
  program,
  `#!/bin/sh
echo ${CANARY} >&2
for name; do :; done
echo "$name" >> '${folder}/asked'
case "$name" in
  FOUND) echo value-1 ;;
  LINES) printf 'a\\nb\\n\\n' ;;
  UNICODE) printf 'p\\303\\244ss \\360\\237\\224\\221' ;;
  BINARY) printf '\\377\\376' ;;
  FULL) head -c 65536 /dev/zero | tr '\\0' x ;;
  OVER) head -c 65537 /dev/zero | tr '\\0' x ;;
  FLOOD) exec yes ${CANARY} ;;
  SLOW) sleep 60 & echo $! > '${folder}/pid'; wait ;;
  UNKNOWN) echo ${CANARY}; exit 66 ;;
  EMPTY) ;;
  REFUSED) echo ${CANARY}; exit 77 ;;
  EXPIRED) echo ${CANARY}; exit 78 ;;
  UNREACHABLE) echo ${CANARY}; exit 69 ;;
  LIMITED) echo ${CANARY}; exit 75 ;;
  *) echo ${CANARY}; exit 1 ;;
esac
`,
  { mode: 0o755 },
);
const env = { PATH: process.env.PATH, CERVER_SECRETS_BACKEND: "exec", CERVER_SECRETS_EXEC: program };
const failed = (error: unknown) => JSON.stringify(error, ["code", "message", "hint", "details"]);

describe("a program as a secrets backend", () => {
  test.each([
    ["FOUND", "value-1"],
    ["LINES", "a\nb\n"],
    ["UNICODE", "päss 🔑"],
    ["FULL", "x".repeat(65_536)],
  ])("%s comes as it was printed, less one newline", async (name, value) => {
    expect(await openSecrets(env).fetch(name)).toEqual({ name, value, source: "exec" });
  });

  test.each([
    ["UNKNOWN", "secret_not_found"],
    ["EMPTY", "secret_not_found"],
    ["REFUSED", "secret_refused"],
    ["EXPIRED", "secret_expired"],
    ["UNREACHABLE", "secret_unreachable"],
    ["LIMITED", "secret_rate_limited"],
    ["OTHER", "provider_failed"],
    ["BINARY", "unsupported"],
    ["OVER", "too_large"],
    ["FLOOD", "too_large"],
    ["--help", "invalid_request"],
    ["$(id)", "invalid_request"],
  ])("%s fails as %s, with a next step and nothing that was printed", async (name, code) => {
    const error = await openSecrets(env)
      .fetch(name)
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, hint: expect.stringMatching(/\.$/) });
    expect(failed(error)).not.toContain(CANARY);
  });

  test("the five failures are five sentences", async () => {
    const names = ["UNKNOWN", "REFUSED", "EXPIRED", "UNREACHABLE", "LIMITED"];
    const said = await Promise.all(
      names.map((name) =>
        openSecrets(env)
          .fetch(name)
          .catch((error: Error) => error.message.replace(name, "")),
      ),
    );
    expect(new Set(said).size).toBe(5);
  });

  test.each(["abort", "timeout"])("an %s ends it and its children", async (way) => {
    rmSync(join(folder, "pid"), { force: true });
    const stop = new AbortController();
    const asked = openSecrets(env, { timeoutMs: way === "timeout" ? 1500 : 15_000 })
      .fetch("SLOW", stop.signal)
      .catch((error: unknown) => error);
    const pid = () => {
      try {
        return Number(readFileSync(join(folder, "pid"), "utf8"));
      } catch {
        return 0;
      }
    };
    await expect.poll(pid, { timeout: 5000 }).toBeGreaterThan(0);
    if (way === "abort") stop.abort();
    expect(await asked).toMatchObject(
      way === "abort" ? { name: "AbortError" } : { code: "secret_unreachable" },
    );
    const state = () => spawnSync("ps", ["-o", "stat=", "-p", String(pid())]).stdout.toString()[0] ?? "gone";
    await expect.poll(state, { timeout: 5000 }).toMatch(/gone|Z/);
  });

  test("a JSON array is the program and its first arguments, and no shell reads it", async () => {
    const secrets = openSecrets({ ...env, CERVER_SECRETS_EXEC: JSON.stringify([program, "$(id); a b"]) });
    expect((await secrets.fetch("FOUND")).value).toBe("value-1");
  });

  test.each([
    [undefined, "unsupported"],
    ["[1]", "unsupported"],
    ["[", "unsupported"],
    ["/nowhere/to/be/found", "secret_unreachable"],
  ])("CERVER_SECRETS_EXEC as %s is said", async (setting, code) => {
    const secrets = openSecrets({ ...env, CERVER_SECRETS_EXEC: setting });
    await expect(secrets.fetch("FOUND")).rejects.toMatchObject({ code });
  });

  test("what is not on the list is refused before the program is asked", async () => {
    rmSync(join(folder, "asked"), { force: true });
    const secrets = openSecrets({ ...env, CERVER_SECRETS_ALLOW: "FOUND" });
    await expect(secrets.fetch("LINES")).rejects.toMatchObject({ code: "secret_refused" });
    expect((await secrets.fetch("FOUND")).value).toBe("value-1");
    expect(readFileSync(join(folder, "asked"), "utf8")).toBe("FOUND\n");
  });
});
