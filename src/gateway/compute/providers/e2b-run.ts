import { setTimeout as sleep } from "node:timers/promises";
import type { Sandbox } from "e2b";
import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import type { SandboxRunRequest } from "../../../protocol/sandbox.js";
import type { RunAtVendor, VendorEnd } from "../vendor-run.js";
import { refusalOf, runLost } from "./e2b-failure.js";
import {
  END_TREE,
  ENV_PREFIX,
  endedFile,
  LAUNCH,
  MODULE_FILE,
  OWN_FOLDER,
  RUN_KEY,
  SCRIPT_FILE,
  STDIN_FILE,
  WORK_FOLDER,
} from "./e2b-scripts.js";

/** Linux takes 128 KiB for one argument, the final NUL included (MAX_ARG_STRLEN, execve(2)). */
const MAX_ARGUMENT_BYTES = 128 * 1024 - 1;
/** How long a command may take to begin, once its end is wanted. */
const BEGIN_WAIT_MS = 5_000;
/** How long the vendor may take to tell the end of processes that are known to be gone. */
const END_WAIT_MS = 2_000;
/** How long ending a tree may take: TERM, KILL, and the way there and back. */
const END_TREE_MS = 25_000;
/** envd says that it is there this often while a command is silent, in seconds: the SDK's own figure. */
const KEEP_ALIVE_SECONDS = "50";

/** What is started in a sandbox. */
export interface E2bOrder {
  command: { kind: "shell" | "node"; code: string } | { kind: "argv"; file: string; args: readonly string[] };
  /** A folder in envd's words, such as `~/work/sub`. */
  cwd: string;
  envs?: Readonly<Record<string, string>> | undefined;
  stdin?: string | undefined;
  runId: string;
}

/** Tells, when a call failed, what that means: such as that the sandbox is gone. */
export type Explain = (error: unknown, doing: string) => Promise<CerverError>;

/** An order as the sandbox gets it: the words to run, our own variables, and the files that have to be there before. */
interface Prepared {
  words: string[];
  envs: Record<string, string>;
  files: { path: string; text: string }[];
}

/** Runs one order in a sandbox, by the contract of {@link RunAtVendor}. */
export function runInE2b(sandbox: Sandbox, order: E2bOrder, explain: Explain): RunAtVendor {
  return async (output, signal, begun) => {
    const key = newId("run");
    const { words, envs, files } = prepare(order, key);
    let end: VendorEnd | undefined;
    try {
      for (const { path, text } of files) {
        await sandbox.files.write(path, text, { signal }).catch(async (error: unknown) => {
          signal.throwIfAborted();
          throw await explain(error, "take the text of a run");
        });
      }
      signal.throwIfAborted();
      const following = new AbortController();
      const followed = new Following(sandbox, { words, envs, cwd: order.cwd }, output, following.signal);
      void followed.begun.then(() => followed.pid !== undefined && begun());
      try {
        end = await untilEnded(sandbox, followed, key, signal, explain);
        return end;
      } finally {
        following.abort();
      }
    } finally {
      // A run that came to its own end has removed them. Best effort: the sandbox's end removes them too.
      if (!end || signal.aborted) forget(sandbox, order.cwd, files);
    }
  };
}

function forget(sandbox: Sandbox, cwd: string, files: Prepared["files"]): void {
  for (const { path } of files) {
    const moved = `${cwd}/.cerver-${path.slice(OWN_FOLDER.length + 1)}`;
    for (const at of path.endsWith(".mjs") ? [path, moved] : [path])
      void sandbox.files.remove(at, { requestTimeoutMs: 10_000 }).catch(() => {});
  }
}

async function untilEnded(
  sandbox: Sandbox,
  followed: Following,
  key: string,
  signal: AbortSignal,
  explain: Explain,
): Promise<VendorEnd> {
  const aborted = onceAborted(signal);
  try {
    const end = await Promise.race([followed.end, aborted.promise]);
    if (end) return end;
  } catch (error) {
    throw await whyLost(sandbox, followed, key, error, explain);
  } finally {
    aborted.forget();
  }
  // A command that is on its way would begin after it was looked for.
  await Promise.race([followed.begun, sleep(BEGIN_WAIT_MS, undefined, { ref: false })]);
  const alive = await endTree(sandbox, key, followed.pid, explain);
  if (alive > 0) {
    throw runLost(
      `${alive} of the run's processes could not be ended`,
      "Delete the session: that ends everything in its sandbox.",
    );
  }
  const told = followed.end.catch(() => undefined);
  const end = await Promise.race([told, sleep(END_WAIT_MS, undefined, { ref: false })]);
  if (end) return end;
  throw signal.reason;
}

/** A command failed before it began, or the line to it broke: then what is left of it is ended, as far as one can. */
async function whyLost(
  sandbox: Sandbox,
  { pid, cwd }: Following,
  key: string,
  error: unknown,
  explain: Explain,
): Promise<CerverError> {
  if (error instanceof CerverError) return error;
  const refusal = pid === undefined ? refusalOf(error) : undefined;
  if (refusal === 400 && /cwd .*does not exist|no such file or directory/.test((error as Error).message)) {
    const wanted = cwd.slice(WORK_FOLDER.length + 1);
    return new CerverError("invalid_request", `cwd: the folder "${wanted}" does not exist in this sandbox.`, {
      hint: "Create it first, for example with mkdir -p.",
      cause: error,
    });
  }
  const explained = await explain(error, "start the command");
  // What stands between us and the sandbox says 502: that is a refusal only when the sandbox is not awake.
  const isAway = explained.code === "sandbox_not_found" || explained.code === "conflict";
  if (refusal !== undefined && (refusal !== 502 || isAway)) return explained;
  if (explained.code === "sandbox_not_found")
    return runLost("The sandbox ended while the command ran in it", "Create a new session and run it again.");
  const alive = await endTree(sandbox, key, pid, explain).catch(() => undefined);
  return runLost(
    "The line to the command broke",
    alive === 0
      ? "Its processes were ended. Look at what it did before you run it again."
      : "It may still be running. Look at what it did, or delete the session.",
    error,
  );
}

/** Ends every process of a run. Gives how many are alive all the same. A sandbox that is gone has none. */
async function endTree(
  sandbox: Sandbox,
  key: string,
  first: number | undefined,
  explain: Explain,
): Promise<number> {
  try {
    // A start that is still on its way finds this.
    if (first === undefined) await sandbox.files.write(`${OWN_FOLDER}/${endedFile(key)}`, "");
    const { stdout } = await sandbox.commands.run(END_TREE, {
      // Whatever user a process may have become.
      user: "root",
      envs: { CERVER_KEY: key, ...(first !== undefined && { CERVER_FIRST: `${first}` }) },
      timeoutMs: END_TREE_MS,
      requestTimeoutMs: END_TREE_MS,
    });
    const alive = Number.parseInt(stdout.trim().split("\n").at(-1) ?? "", 10);
    if (Number.isInteger(alive)) return alive;
    throw new Error("the sandbox did not say what is left");
  } catch (error) {
    const explained = await explain(error, "end the command");
    if (explained.code === "sandbox_not_found") return 0;
    throw runLost(
      `The command could not be ended (${explained.message.replace(/\.$/, "")})`,
      "Delete the session: that ends everything in its sandbox.",
    );
  }
}

/**
 * The SDK's own client of envd's process service, of which this much is needed. The SDK's public `commands.run` decodes
 * the output as text, in which bytes that are not UTF-8 do not survive.
 */
interface ProcessClient {
  start(
    request: {
      process: { cmd: string; args: string[]; envs: Record<string, string>; cwd: string };
      stdin: boolean;
    },
    options: { headers: Record<string, string>; signal: AbortSignal },
  ): AsyncIterable<{ event?: { event: ProcessEvent } }>;
}

type ProcessEvent =
  | { case: "start"; value: { pid: number } }
  | {
      case: "data";
      value: {
        output: { case: "stdout" | "stderr" | "pty"; value: Uint8Array } | { case: undefined };
      };
    }
  | { case: "end"; value: { exitCode: number; exited: boolean; status: string } }
  | { case: "keepalive" | undefined };

function processClient(sandbox: Sandbox): ProcessClient {
  const { rpc } = sandbox.commands as unknown as { rpc?: ProcessClient };
  if (typeof rpc?.start === "function") return rpc;
  throw new Error("this version of the e2b package keeps its process client elsewhere");
}

/** A command that was started, followed to its end. */
class Following {
  /** Of the first process; undefined until it has begun. */
  pid: number | undefined;
  readonly cwd: string;
  /** Settles when it has begun, or will not. */
  readonly begun: Promise<void>;
  /** Rejects when the line to it breaks, or when it could not be started. */
  readonly end: Promise<VendorEnd>;

  constructor(
    sandbox: Sandbox,
    { words, envs, cwd }: { words: string[]; envs: Record<string, string>; cwd: string },
    output: Parameters<RunAtVendor>[0],
    signal: AbortSignal,
  ) {
    this.cwd = cwd;
    let begin!: () => void;
    this.begun = new Promise((resolve) => {
      begin = resolve;
    });
    const events = processClient(sandbox).start(
      {
        process: { cmd: "/bin/bash", args: ["-l", "-c", LAUNCH, "cerver", ...words], envs, cwd },
        stdin: false,
      },
      { headers: { "Keepalive-Ping-Interval": KEEP_ALIVE_SECONDS }, signal },
    );
    this.end = this.#follow(events, output, begin).finally(begin);
    // Whoever waits hears of it; that nobody does is no failure of its own.
    this.end.catch(() => {});
  }

  async #follow(
    events: ReturnType<ProcessClient["start"]>,
    output: Parameters<RunAtVendor>[0],
    begin: () => void,
  ): Promise<VendorEnd> {
    for await (const { event } of events) {
      const told = event?.event;
      if (told?.case === "start") {
        this.pid = told.value.pid;
        begin();
      } else if (told?.case === "data") {
        const { output: piece } = told.value;
        // Nothing more is read until the reader has room.
        if (piece.case === "stdout" || piece.case === "stderr") await output(piece.case, piece.value);
      } else if (told?.case === "end") {
        return endOf(told.value);
      }
    }
    throw new Error("the stream of events ended before the command did");
  }
}

/** The signals as Go names them in the status of a process (its syscall package, zerrors_linux_*.go). */
const SIGNALS: Record<string, readonly [name: string, number: number]> = {
  hangup: ["SIGHUP", 1],
  interrupt: ["SIGINT", 2],
  quit: ["SIGQUIT", 3],
  aborted: ["SIGABRT", 6],
  killed: ["SIGKILL", 9],
  "segmentation fault": ["SIGSEGV", 11],
  "broken pipe": ["SIGPIPE", 13],
  terminated: ["SIGTERM", 15],
};

function endOf({
  exitCode,
  exited,
  status,
}: {
  exitCode: number;
  exited: boolean;
  status: string;
}): VendorEnd {
  if (exited) return { exitCode };
  const [, words = ""] = /^signal: ([a-z ]+?)(?: \(core dumped\))?$/.exec(status) ?? [];
  const known = SIGNALS[words];
  if (known) return { exitCode: 128 + known[1], signal: known[0] };
  // Another signal: that it ended so is all there is to tell.
  return { exitCode: exitCode > 0 ? exitCode : 128 };
}

function prepare({ command, envs = {}, stdin, runId }: E2bOrder, key: string): Prepared {
  const prepared: Prepared = {
    words: [],
    envs: { CERVER_RUN_ID: runId, [RUN_KEY]: key },
    files: [],
  };
  for (const [name, value] of Object.entries(envs)) {
    // The marks win over whatever a run sets: they are how its processes are found.
    if (!(name in prepared.envs)) prepared.envs[`${ENV_PREFIX}${name}`] = value;
  }
  const give = (variable: string, name: string, text: string) => {
    prepared.envs[variable] = name;
    prepared.files.push({ path: `${OWN_FOLDER}/${name}`, text });
  };
  if (stdin !== undefined) give(STDIN_FILE, `${key}.in`, stdin);
  if (command.kind === "argv") return { ...prepared, words: [command.file, ...command.args] };
  if (Buffer.byteLength(command.code) > MAX_ARGUMENT_BYTES) {
    if (command.kind === "shell") give(SCRIPT_FILE, `${key}.sh`, command.code);
    else give(MODULE_FILE, `${key}.mjs`, command.code);
    return prepared;
  }
  const { kind, code } = command;
  const words = kind === "shell" ? ["/bin/sh", "-c", code] : ["node", "--input-type=module", "--eval", code];
  return { ...prepared, words };
}

/** What a run is asked to do. */
export function orderOf(request: SandboxRunRequest & { run_id: string }, cwd: string): E2bOrder {
  const { code, runtime, envs, stdin, run_id: runId } = request;
  return { command: { kind: runtime, code }, cwd, envs, stdin, runId };
}

function onceAborted(signal: AbortSignal) {
  let onAbort!: () => void;
  const promise = new Promise<undefined>((resolve) => {
    onAbort = () => resolve(undefined);
  });
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return { promise, forget: () => signal.removeEventListener("abort", onAbort) };
}
