import { CerverError } from "../../protocol/errors.js";
import type { ListeningPort } from "../../protocol/ports.js";
import { commandOf, hasProc, isAlive, openPorts, portsOf, processInfo } from "./process-table.js";
import { membersOf } from "./process-tree.js";
import { SANDBOX_MARK } from "./run.js";

/** How long a port that was found counts as found, while its process lives. One that was not found is looked for again at once. */
const FRESH_MS = 2_000;
const MAX_REMEMBERED = 1_000;

/** A port as it was found: where it is reached, and the processes that had it. */
interface Found {
  addresses: string[];
  owners: { pid: number; startedAt: string | undefined }[];
  until: number;
}

/**
 * The TCP ports that a sandbox's own processes listen on, found by the mark in their environment.
 *
 * No other port of this machine is a sandbox's: what else its owner runs here stays out of reach.
 */
export class SandboxPorts {
  readonly #found = new Map<string, Found>();
  readonly #looking = new Map<string, Promise<ListeningPort[]>>();

  /** What listens now. Those who ask at once share one look. */
  list(sandboxId: string): Promise<ListeningPort[]> {
    if (!hasProc) return Promise.reject(cannotLook());
    const under = this.#looking.get(sandboxId);
    if (under) return under;
    const look = this.#look(sandboxId).finally(() => this.#looking.delete(sandboxId));
    this.#looking.set(sandboxId, look);
    return look;
  }

  /** Where to connect for a port, the likeliest first. Throws `not_found` when it is none of the sandbox's. */
  async addressesOf(sandboxId: string, port: number): Promise<string[]> {
    const key = `${sandboxId} ${port}`;
    const known = this.#found.get(key);
    if (known && isFresh(known)) return known.addresses;
    this.#found.delete(key);
    const own = (await this.list(sandboxId)).filter((one) => one.port === port);
    if (own.length === 0) throw nothingListens(port);
    const addresses = [...new Set(own.flatMap(({ address }) => connectable(address, port)))].sort();
    if (this.#found.size >= MAX_REMEMBERED) this.#found.clear();
    const owners = own.map(({ pid }) => ({ pid, startedAt: processInfo(pid)?.startedAt }));
    this.#found.set(key, { addresses, owners, until: performance.now() + FRESH_MS });
    return addresses;
  }

  /** The port is looked for again: what was found there has gone. */
  forget(sandboxId: string, port: number): void {
    this.#found.delete(`${sandboxId} ${port}`);
  }

  async #look(sandboxId: string): Promise<ListeningPort[]> {
    const pids = await membersOf({ mark: `${SANDBOX_MARK}=${sandboxId}` });
    return portsOf(pids)
      .filter(({ protocol }) => protocol.startsWith("tcp"))
      .map(({ port, address, pid }) => ({ port, address, pid, command: commandOf(pid) }))
      .sort((a, b) => a.port - b.port);
  }
}

/** A port whose process has gone may be anybody's by now. */
function isFresh({ owners, until }: Found): boolean {
  return (
    until > performance.now() &&
    owners.every(({ pid, startedAt }) => {
      const info = processInfo(pid);
      return info !== undefined && isAlive(info) && info.startedAt === startedAt;
    })
  );
}

/** The addresses under which a listener is reached from this machine. */
function connectable(address: string, port: number): string[] {
  if (address === "0.0.0.0") return ["127.0.0.1"];
  if (address !== "::") return [address];
  // A machine without IPv6 on its loopback reaches it by IPv4, unless somebody else has the port there.
  const isTaken = openPorts().some((one) => one.protocol === "tcp" && one.port === port);
  return isTaken ? ["::1"] : ["127.0.0.1", "::1"];
}

export function nothingListens(port: number): CerverError {
  return new CerverError("not_found", `Nothing of this session listens on port ${port}.`, {
    hint: "Start a server in the session, as a background run, and bind it to 127.0.0.1.",
  });
}

function cannotLook(): CerverError {
  return new CerverError("unsupported", "This machine cannot tell which ports belong to a session.", {
    hint: "Ports are shown from machines with Linux. Use a session on one of those.",
  });
}
