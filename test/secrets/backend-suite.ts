import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CerverError, ERRORS, type ErrorCode } from "../../src/protocol/errors.js";
import { openSecrets } from "../../src/secrets/secrets.js";
import type { StoreFailure } from "../../src/secrets/store-failure.js";
import type { Env } from "../../src/util/paths.js";

/** What a failure is asked with; the store's usual environment where none is given. */
interface Case {
  name: string;
  env?: Env;
}

/** A store of secrets that runs, and what is in it. */
export interface RunningStore {
  env: Env;
  fetch?: typeof globalThis.fetch;
  /** Names with the value that each has to give, to the byte. */
  found: Record<string, string>;
  /** In every answer that is no value, in tokens and in keys: it must reach nobody. */
  canary: string;
  failures: Partial<Record<StoreFailure, Case>>;
  over: string;
  malformed: string;
  /** Left out where the store can hold text only. */
  binary?: string;
  /** A name that is never answered; left out where nothing is waited for. */
  slow?: string;
  /** How often the store was asked. */
  asked(): number;
  close(): Promise<void> | void;
}

/** What every backend has to keep, against a store that runs. `never` names the failures that this one cannot have. */
export function describeBackend(
  backend: string,
  { scheme, never = [], start }: { scheme: string; never?: StoreFailure[]; start(): Promise<RunningStore> },
  more?: (store: () => RunningStore) => void,
): void {
  describe(`secrets from ${backend}`, () => {
    let store: RunningStore;
    beforeAll(async () => {
      store = await start();
    });
    afterAll(() => store?.close());
    const open = (env: Env = {}, timeoutMs = 15_000) =>
      openSecrets(
        { ...store.env, CERVER_SECRETS_BACKEND: backend, ...env },
        { timeoutMs, ...(store.fetch && { fetch: store.fetch }) },
      );
    const failing = async (name: string, env?: Env, signal?: AbortSignal) => {
      const error = await open(env)
        .fetch(name, signal)
        .then(
          ({ value }) => expect.unreachable(`${name} was given out: ${value.length} characters`),
          (reason) => reason as CerverError,
        );
      const shown = JSON.stringify(error, ["code", "message", "hint", "details"]) + error.stack;
      expect(shown).not.toContain(store.canary);
      return error;
    };

    test("a value comes to the byte: plain, in several lines, beyond ASCII, as large as it may be", async () => {
      expect(Object.keys(store.found).length).toBeGreaterThanOrEqual(4);
      const values = Object.values(store.found);
      expect(values.some((value) => value.includes("\n"))).toBe(true);
      expect(values.some((value) => value.includes("🔑"))).toBe(true);
      expect(values.some((value) => value.length === 65_536)).toBe(true);
      const secrets = open();
      for (const [name, value] of Object.entries(store.found))
        expect(await secrets.fetch(name)).toEqual({ name, value, source: backend });
    });

    test("its references reach it whatever the default backend is", async () => {
      const [[name, value] = ["", ""]] = Object.entries(store.found);
      const secrets = open({ CERVER_SECRETS_BACKEND: backend === "env" ? "exec" : "env" });
      expect((await secrets.fetch(`${scheme}${name}`)).value).toBe(value);
      expect((await secrets.fetch(`secret://${backend}/${name}`)).value).toBe(value);
    });

    test("twenty at once are all answered", async () => {
      const [[name, value] = ["", ""]] = Object.entries(store.found);
      const secrets = open();
      const all = await Promise.all(Array.from({ length: 20 }, () => secrets.fetch(name)));
      expect(all.every((secret) => secret.value === value)).toBe(true);
    });

    test("each failure has its code, its own sentence and a next step", async () => {
      const kinds = (["not_found", "refused", "expired", "unreachable", "rate_limited"] as const).filter(
        (kind) => !never.includes(kind),
      );
      const sentences = new Set<string>();
      for (const kind of kinds) {
        const { name, env } = store.failures[kind]!;
        const error = await failing(name, env);
        const code: ErrorCode = `secret_${kind}`;
        expect(error, `${kind}: ${error.stack}`).toMatchObject({
          code,
          hint: expect.stringMatching(/\.$|`$/),
        });
        expect("retryable" in ERRORS[code], kind).toBe(kind === "unreachable" || kind === "rate_limited");
        sentences.add(error.message.replace(name, "NAME"));
      }
      expect(sentences.size).toBe(kinds.length);
    });

    test("what is too large, no text or no name is refused", async () => {
      expect(await failing(store.over)).toMatchObject({ code: "too_large" });
      expect(await failing(store.malformed)).toMatchObject({ code: "invalid_request" });
      if (store.binary !== undefined)
        expect(await failing(store.binary)).toMatchObject({ code: "unsupported" });
    });

    test("an abort and the time limit end what gets no answer", async () => {
      if (store.slow === undefined) return;
      const before = store.asked();
      const stop = new AbortController();
      const aborted = failing(store.slow, undefined, stop.signal);
      await expect.poll(() => store.asked() > before, { timeout: 5000 }).toBe(true);
      stop.abort();
      expect(await aborted).toMatchObject({ name: "AbortError" });

      const begun = Date.now();
      await expect(open({}, 700).fetch(store.slow)).rejects.toMatchObject({ code: "secret_unreachable" });
      expect(Date.now() - begun).toBeLessThan(3000);
      await expect(open().fetch(store.slow, AbortSignal.abort())).rejects.toMatchObject({
        name: "AbortError",
      });
    });

    test("what is not on the list is refused without asking it", async () => {
      const [[name] = [""]] = Object.entries(store.found);
      const before = store.asked();
      expect(await failing(name, { CERVER_SECRETS_ALLOW: "ANOTHER,env:THAT" })).toMatchObject({
        code: "secret_refused",
        message: expect.stringContaining("list"),
      });
      expect(store.asked()).toBe(before);
      expect((await open({ CERVER_SECRETS_ALLOW: name }).fetch(name)).name).toBe(name);
    });

    more?.(() => store);
  });
}

/** The values that a store should have under four names of its own. */
export const VALUES = {
  plain: "value-1",
  lines: "a\nb\n\tc",
  beyond: "päss 🔑 ü",
  full: "x".repeat(65_536),
  over: "x".repeat(65_537),
} as const;
