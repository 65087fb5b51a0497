import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSecrets } from "../../src/secrets/secrets.js";
import { describeBackend, VALUES } from "./backend-suite.js";

const CANARY = "canary-9f8e7d6c";

/** A real program; what it is asked for chooses how it ends. It says the canary on stderr each time. */
const script = (folder: string) => `#!/bin/sh
echo ${CANARY} >&2
for name; do :; done
echo "$name" >> '${folder}/asked'
case "$name" in
  PLAIN) echo ${VALUES.plain} ;;
  LINES) printf 'a\\nb\\n\\tc' ;;
  NEWLINES) printf 'a\\n\\n' ;;
  BEYOND) printf '${VALUES.beyond}' ;;
  BINARY) printf '\\377\\376' ;;
  FULL) head -c 65536 /dev/zero | tr '\\0' x ;;
  OVER) head -c 65537 /dev/zero | tr '\\0' x ;;
  FLOOD) exec yes ${CANARY} ;;
  SLOW) sleep 60 & echo $! > '${folder}/pid'; wait ;;
  LEAVES) sleep 5 & echo left ;;
  ENV) env | cut -d= -f1 | sort ;;
  UNKNOWN) echo ${CANARY}; exit 66 ;;
  EMPTY) ;;
  REFUSED) echo ${CANARY}; exit 77 ;;
  EXPIRED) echo ${CANARY}; exit 78 ;;
  UNREACHABLE) echo ${CANARY}; exit 69 ;;
  LIMITED) echo ${CANARY}; exit 75 ;;
  *) echo ${CANARY}; exit 1 ;;
esac
`;
let folder: string;

describeBackend(
  "exec",
  {
    scheme: "exec:",
    start: async () => {
      folder = mkdtempSync(join(tmpdir(), "secrets-exec-"));
      const program = join(folder, "give.sh");
      writeFileSync(program, script(folder), { mode: 0o755 });
      const asked = join(folder, "asked");
      return {
        env: { PATH: process.env.PATH, CERVER_SECRETS_EXEC: program },
        found: { PLAIN: VALUES.plain, LINES: VALUES.lines, BEYOND: VALUES.beyond, FULL: VALUES.full },
        canary: CANARY,
        failures: {
          not_found: { name: "UNKNOWN" },
          refused: { name: "REFUSED" },
          expired: { name: "EXPIRED" },
          unreachable: { name: "UNREACHABLE" },
          rate_limited: { name: "LIMITED" },
        },
        over: "OVER",
        malformed: "--help",
        binary: "BINARY",
        slow: "SLOW",
        asked: () => (existsSync(asked) ? readFileSync(asked, "utf8").split("\n").length : 0),
        close: () => rmSync(folder, { recursive: true, force: true }),
      };
    },
  },
  (store) => {
    const fetching = (name: string, env = {}) =>
      openSecrets({ ...store().env, ...env }).fetch(`exec:${name}`);

    test("one newline at the end is the program's, every other is the value's", async () => {
      expect((await fetching("NEWLINES")).value).toBe("a\n");
    });

    test.each([
      ["EMPTY", "secret_not_found"],
      ["OTHER", "provider_failed"],
      ["FLOOD", "too_large"],
      ["$(id)", "invalid_request"],
    ])("%s fails as %s", async (name, code) => {
      const error = await fetching(name).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code });
      expect(JSON.stringify(error, ["message", "hint"])).not.toContain(CANARY);
    });

    test("an abort ends its children too", async () => {
      const pidFile = join(folder, "pid");
      rmSync(pidFile, { force: true });
      const stop = new AbortController();
      const asked = openSecrets(store().env)
        .fetch("exec:SLOW", stop.signal)
        .catch((error: unknown) => error);
      const pid = () => (existsSync(pidFile) ? Number(readFileSync(pidFile, "utf8")) : 0);
      await expect.poll(pid, { timeout: 5000 }).toBeGreaterThan(0);
      stop.abort();
      await asked;
      const state = () =>
        spawnSync("ps", ["-o", "stat=", "-p", String(pid())]).stdout.toString()[0] ?? "gone";
      await expect.poll(state, { timeout: 5000 }).toMatch(/gone|Z/);
    });

    test("a child that it leaves behind holds nobody up", async () => {
      const begun = Date.now();
      expect((await fetching("LEAVES")).value).toBe("left");
      expect(Date.now() - begun).toBeLessThan(3000);
    });

    test("it gets a narrow environment: the usual, what is named, and never cerver's own", async () => {
      const env = {
        LANG: "C",
        XDG_RUNTIME_DIR: "/run/x",
        CERVER_API_TOKEN: "ck_x",
        AWS_SECRET_ACCESS_KEY: "x",
        VAULT_ADDR: "x",
        VAULT_TOKEN: "x",
      };
      const names = async (more = {}) =>
        (await fetching("ENV", { ...env, ...more })).value
          .split("\n")
          .filter((name) => !["PWD", "SHLVL", "_"].includes(name));
      expect(await names()).toEqual(["LANG", "PATH", "XDG_RUNTIME_DIR"]);
      expect(await names({ CERVER_SECRETS_EXEC_ENV: "VAULT_*, CERVER_*,CERVER_API_TOKEN" })).toEqual([
        "LANG",
        "PATH",
        "VAULT_ADDR",
        "VAULT_TOKEN",
        "XDG_RUNTIME_DIR",
      ]);
    });

    test("a JSON array is the program and its first arguments, and no shell reads it", async () => {
      const argv = JSON.stringify([store().env.CERVER_SECRETS_EXEC, "$(id); a b"]);
      expect((await fetching("PLAIN", { CERVER_SECRETS_EXEC: argv })).value).toBe(VALUES.plain);
    });

    test.each([
      [undefined, "unsupported"],
      ["[1]", "unsupported"],
      ["[", "unsupported"],
      ["/nowhere/to/be/found", "secret_unreachable"],
    ])("CERVER_SECRETS_EXEC as %s is said", async (setting, code) => {
      await expect(fetching("PLAIN", { CERVER_SECRETS_EXEC: setting })).rejects.toMatchObject({ code });
    });
  },
);
