import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ownProgram } from "../util/own-program.js";
import { parseJson } from "../util/parse-json.js";
import type { Env } from "../util/paths.js";
import { hasDisplay } from "./open-browser.js";

/** What keychain-program.ts is asked. */
export type KeychainRequest =
  | { ask: "get"; name: string }
  | { ask: "put"; entries: Record<string, string> }
  | { ask: "remove"; names: string[] };
export interface KeychainAnswer {
  value?: string | null;
  error?: string;
}

/** A keychain that cannot be used, with the reason in words that follow "because". */
export class KeychainFailure extends Error {}

/** A person who is asked to unlock it needs time; where nobody can be asked, a daemon that works answers at once. */
const PATIENCE_MS = { someone: 60_000, nobody: 10_000 };
const MAX_REASON_LENGTH = 200;
const MAX_ANSWER_LENGTH = 1_000_000;
/** What finding the keychain, and showing a person its prompt, takes of an environment. */
const VARIABLES =
  /^(?:HOME|PATH|LANG|LC_ALL|XDG_RUNTIME_DIR|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|SystemRoot|APPDATA|LOCALAPPDATA|USERPROFILE|TEMP)$/i;

/** The system's keychain: the Secret Service on Linux, Keychain on macOS, the Credential Manager on Windows. */
export class Keychain {
  /** In words for people. */
  readonly label = process.platform === "win32" ? "the Credential Manager" : "the login keychain";
  readonly #env: Env;

  constructor(env: Env) {
    this.#env = env;
  }

  /** The value of an entry; undefined when there is no such entry. Throws {@link KeychainFailure}. */
  async get(name: string): Promise<string | undefined> {
    return (await this.#ask({ ask: "get", name })).value ?? undefined;
  }

  /** Keeps entries, and has read each back. Throws {@link KeychainFailure}. */
  async put(entries: Record<string, string>, signal?: AbortSignal): Promise<void> {
    await this.#ask({ ask: "put", entries }, signal);
  }

  /** Removes entries that are there. Throws {@link KeychainFailure}. */
  async remove(names: string[], signal?: AbortSignal): Promise<void> {
    if (names.length > 0) await this.#ask({ ask: "remove", names }, signal);
  }

  #ask(request: KeychainRequest, signal?: AbortSignal): Promise<KeychainAnswer> {
    const program = ownProgram("keychain.js");
    const bus = process.platform === "linux" ? busAddress(this.#env) : "";
    if (bus === undefined)
      return Promise.reject(new KeychainFailure("this session has no D-Bus, by which a keychain is reached"));
    if (program === undefined)
      return Promise.reject(new KeychainFailure("this installation lacks dist/keychain.js"));
    const patienceMs = hasDisplay(this.#env) ? PATIENCE_MS.someone : PATIENCE_MS.nobody;
    return askProgram(program, request, narrow(this.#env, bus), { patienceMs, signal });
  }
}

/**
 * The address of the session's D-Bus, by which a keychain is reached on Linux; undefined where there is none.
 *
 * MCP clients start servers with next to no environment: the bus then is where systemd has it.
 */
function busAddress({ DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: folder }: Env): string | undefined {
  const socket = join(folder || `/run/user/${process.getuid?.()}`, "bus");
  return address || (existsSync(socket) ? `unix:path=${socket}` : undefined);
}

function narrow(env: Env, bus: string): NodeJS.ProcessEnv {
  const narrow = Object.fromEntries(Object.entries(env).filter(([name]) => VARIABLES.test(name)));
  return bus ? { ...narrow, DBUS_SESSION_BUS_ADDRESS: bus } : narrow;
}

function askProgram(
  program: string,
  request: KeychainRequest,
  env: NodeJS.ProcessEnv,
  { patienceMs, signal }: { patienceMs: number; signal: AbortSignal | undefined },
): Promise<KeychainAnswer> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program], {
      env,
      stdio: ["pipe", "pipe", "ignore"],
      ...(signal && { signal, killSignal: "SIGKILL" }),
    });
    let text = "";
    const fail = (why: string) => {
      child.kill("SIGKILL");
      reject(new KeychainFailure(why));
    };
    const timer = setTimeout(
      () =>
        fail(
          `the keychain did not answer within ${patienceMs / 1000} s; it may be locked and wait for its password`,
        ),
      patienceMs,
    );
    child.on("error", ({ message }) =>
      fail(
        signal?.aborted
          ? "the keychain did not answer in time"
          : `the keychain's program cannot be started: ${message}`,
      ),
    );
    child.stdout.on("data", (chunk: Buffer) => {
      if (text.length < MAX_ANSWER_LENGTH) text += chunk;
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const answer = parseJson(text) as KeychainAnswer | undefined;
      if (!answer) fail(`the keychain's program ended without an answer (${signal ?? `exit code ${code}`})`);
      else if (answer.error !== undefined) fail(`the keychain could not be used: ${reason(answer.error)}`);
      else resolve(answer);
    });
    // It may have ended already, which is told above.
    child.stdin.on("error", () => {});
    child.stdin.end(JSON.stringify(request));
  });
}

/** The library's own words, less what they all begin with. */
function reason(message: string): string {
  return message
    .replace(/^(?:(?:Couldn't access platform storage|Platform failure|DBus error|Secret Service): )+/, "")
    .replace(/\s+/g, " ")
    .slice(0, MAX_REASON_LENGTH)
    .replace(/\.$/, "");
}
