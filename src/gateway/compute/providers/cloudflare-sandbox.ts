import { randomUUID } from "node:crypto";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { vendorFailure } from "../vendor-failure.js";
import type { CloudflareBridge, ExecEvent } from "./cloudflare-bridge.js";
import { RUNNER_FOLDER, type RunnerOrder, runnerProgram, WORK_FOLDER } from "./cloudflare-runner.js";

const VENDOR = "Cloudflare Sandbox";
/** The file that says that a container is this sandbox, and no other one that was started under its name since. */
const MARK = `${RUNNER_FOLDER}/sandbox`;
/** Where the files of orders are, below `/workspace`. */
export const ORDERS = `${RUNNER_FOLDER}/runs`;
/** How long an order that is no run may take there. */
const ORDER_MS = 120_000;
const CLEAN_UP_MS = 15_000;
/** The most that an order prints, in characters: a piece of a file in base64, twice. */
const MAX_PRINTED = 32 * 1024 * 1024;

/** What the shell in front of the runner says when it does not come to it. */
export const GONE = "gone";
export const NO_NODE = "no-node";
/** Says so when the container is not this sandbox, or cannot run the runner. */
export const GUARD = `[ -f ${MARK} ] || { echo ${GONE}; exit 0; }; command -v node >/dev/null || { echo ${NO_NODE}; exit 0; }`;

const Refusal = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });

/** A name for the files of one order. */
export function newOrderId(): string {
  return randomUUID().replaceAll("-", "");
}

/** One sandbox behind a bridge, by its id alone. */
export class CloudflareSandbox {
  constructor(
    readonly bridge: CloudflareBridge,
    readonly id: string,
  ) {}

  /** Makes the folders and the mark. A container is started for it, if this id has none. */
  async prepare(signal: AbortSignal): Promise<void> {
    const script = [
      `command -v node >/dev/null || { echo ${NO_NODE}; exit 0; }`,
      `mkdir -p ${ORDERS} ${WORK_FOLDER} && chmod 700 ${RUNNER_FOLDER} && : > ${MARK} && echo ready`,
    ].join("; ");
    const printed = await this.#print("make a sandbox", script, signal);
    if (printed.stdout.trim() === NO_NODE) throw noNode();
    if (printed.stdout.trim() === "ready") return;
    throw vendorFailure({
      vendor: VENDOR,
      doing: "make a sandbox",
      message: printed.stderr.trim().slice(0, 500) || "its container does not take commands",
    });
  }

  /** Whether this sandbox is there. What the question itself started is ended again. */
  async exists(signal: AbortSignal): Promise<boolean> {
    const printed = await this.#print(
      "look for a sandbox",
      `[ -f ${MARK} ] && echo here || echo ${GONE}`,
      signal,
    );
    if (printed.stdout.trim() === "here") return true;
    if (printed.stdout.trim() !== GONE) throw unclear("look for a sandbox");
    await this.#endStray();
    return false;
  }

  /** Lets the runner do something that is no run. The bytes are there if the order is one that has some. */
  async order(
    order: RunnerOrder,
    doing: string,
    signal: AbortSignal,
  ): Promise<{ answer: unknown; bytes: Buffer }> {
    await this.place(order, signal);
    const { stdout, stderr } = await this.#print(
      doing,
      `${GUARD}; exec node ${ORDERS}/${order.id}.cjs`,
      signal,
    );
    const [line = "", data] = stdout.trim().split("\n");
    if (line === GONE) throw await this.gone();
    if (line === NO_NODE) throw noNode();
    if (line.startsWith("f ")) throw refused(line);
    if (line.startsWith("r "))
      return { answer: decoded(line), bytes: Buffer.from(data?.slice(2) ?? "", "base64") };
    throw unclear(doing, stderr);
  }

  /** Puts an order where the runner is started from. It removes the file before anything else. */
  async place(order: RunnerOrder, signal: AbortSignal): Promise<void> {
    await this.put(`${order.id}.cjs`, Buffer.from(runnerProgram(order)), signal);
  }

  /** Puts a file of an order. */
  async put(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    try {
      await this.bridge.put(this.id, `${ORDERS}/${name}`, bytes, signal);
    } catch (error) {
      // The folder is not there in a container that was started under this name since.
      const isUnclear = error instanceof CerverError && error.code === "provider_failed";
      if (isUnclear && !(await this.exists(signal).catch(() => true))) throw notFound(this.id);
      throw error;
    }
  }

  /** The container is another one than was made: it goes, and the sandbox is not there. */
  async gone(): Promise<CerverError> {
    await this.#endStray();
    return notFound(this.id);
  }

  async #endStray(): Promise<void> {
    await this.bridge.delete(this.id, AbortSignal.timeout(CLEAN_UP_MS)).catch(() => {
      // It falls asleep by itself when nobody uses it.
    });
  }

  async #print(doing: string, script: string, signal: AbortSignal) {
    const printed = { stdout: "", stderr: "" };
    for await (const event of await this.bridge.exec(this.id, script, {
      doing,
      timeoutMs: ORDER_MS,
      signal,
    })) {
      if (event.type === "exit") return printed;
      if (event.type === "error") throw execFailure(doing, event);
      printed[event.type] += event.text;
      if (printed[event.type].length > MAX_PRINTED) break;
    }
    signal.throwIfAborted();
    throw unclear(doing);
  }
}

export function execFailure(doing: string, { code, message }: ExecEvent & { type: "error" }): CerverError {
  return vendorFailure({ vendor: VENDOR, doing, code, message });
}

export function noNode(): CerverError {
  return new CerverError("unsupported", "The sandbox's image has no Node, which every run there needs.", {
    hint: "Use the Dockerfile of examples/cloudflare-bridge, or put Node into yours, and deploy the bridge again.",
  });
}

/** The failure that the runner tells of in an `f` frame. */
export function refused(line: string): CerverError {
  const { code, message, hint } = Refusal.parse(decoded(line));
  return CerverError.fromBody(502, { error: message, code, ...(hint !== undefined && { hint }) });
}

export function unclear(doing: string, words = ""): CerverError {
  const said = words.trim().split("\n").at(-1)?.slice(0, 300);
  return vendorFailure({
    vendor: VENDOR,
    doing,
    message: `its answer broke off${said ? ` (${said})` : ""}, so it is not known whether that was done`,
  });
}

function notFound(id: string): CerverError {
  return new CerverError("sandbox_not_found", `Cloudflare has no sandbox ${id} any more.`, {
    hint: "It was deleted, or fell asleep after nobody used it for a while (SLEEP_AFTER of the bridge). Create a new session.",
  });
}

function decoded(line: string): unknown {
  return JSON.parse(Buffer.from(line.slice(2), "base64").toString("utf8"));
}
