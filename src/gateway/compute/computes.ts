import type {
  Compute,
  ComputeExecRequest,
  HeartbeatRequest,
  RegisterComputeRequest,
} from "../../protocol/computes.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { canonicalProvider } from "../../protocol/providers.js";
import type { TunnelHub } from "../../tunnel/hub.js";
import type { ComputeRow, Database } from "../store/schema.js";
import { Presence } from "./presence.js";

/** How many computes one account may attach. */
export const MAX_COMPUTES_PER_ACCOUNT = 1_000;

/** A shorter text tells no machine from another. */
const MIN_MACHINE_ID = 16;
/** So long a compute that was given back to its machine is given to no other that says it is the same. */
const RETURNED_MS = 60_000;

/** How long a compute may take to answer a request that is passed on. */
const EXEC_TIMEOUT_MS = 180_000;

/** What may happen to a compute; `attached` also tells that its facts have changed. */
export type ComputeChange = "attached" | "ready" | "offline" | "removed";

export interface ComputesDeps {
  db: Database;
  hub: TunnelHub;
  now?: () => number;
}

/** The computes attached to an account: register, list, seen, remove. */
export class Computes {
  readonly presence: Presence;
  readonly #db: Database;
  readonly #hub: TunnelHub;
  readonly #now: () => number;
  /** When computes were given back to a machine that had lost their ids. */
  readonly #returned = new Map<string, number>();
  readonly #listeners = new Set<(computeId: string, online: boolean) => void>();
  #onChange: ((accountId: string, computeId: string, change: ComputeChange) => void) | undefined;

  constructor({ db, hub, now = Date.now }: ComputesDeps) {
    this.#db = db;
    this.#hub = hub;
    this.#now = now;
    this.presence = new Presence(now);
    hub.onChange = (computeId, online) => {
      if (online) this.presence.connected(computeId);
      else this.presence.disconnected(computeId);
      for (const listener of this.#listeners) listener(computeId, online);
      void this.#tellPresence(computeId, online ? "ready" : "offline");
    };
  }

  /** Hears of everything that happens to a compute, with the account that it belongs to. */
  onChange(listener: (accountId: string, computeId: string, change: ComputeChange) => void): void {
    this.#onChange = listener;
  }

  /** News is worth no failure: a store that does not answer has told whoever asked it something. */
  async #tellPresence(computeId: string, change: ComputeChange): Promise<void> {
    const row = await this.#row(computeId).catch(() => undefined);
    if (row) this.#onChange?.(row.account_id, computeId, change);
  }

  /** Hears of each compute that comes or goes. */
  onPresence(listener: (computeId: string, online: boolean) => void): void {
    this.#listeners.add(listener);
  }

  isOnline(computeId: string): boolean {
    return this.#hub.isOnline(computeId);
  }

  /** Whether a compute's relay is one of the public system, which keeps no runs beyond their request. */
  isPublic(computeId: string): boolean {
    return this.#hub.channel(computeId)?.level === 1;
  }

  /** Hears once when a compute that is there has gone. */
  onceGone(computeId: string, gone: () => void): void {
    const listener = (id: string, online: boolean) => {
      if (id !== computeId || online) return;
      this.#listeners.delete(listener);
      gone();
    };
    this.#listeners.add(listener);
    if (!this.#hub.isOnline(computeId)) listener(computeId, false);
  }

  /** Waits until a compute is there: false when it was not in time, or when nobody waits any more. */
  whenOnline(computeId: string, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    if (this.#hub.isOnline(computeId)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (online: boolean) => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        signal.removeEventListener("abort", onAbort);
        resolve(online);
      };
      const timer = setTimeout(() => finish(false), timeoutMs);
      const onAbort = () => finish(false);
      const listener = (id: string, online: boolean) => {
        if (id === computeId && online) finish(true);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#listeners.add(listener);
    });
  }

  /**
   * Attaches a host, or greets one that was attached before.
   *
   * The id a host proposes is kept when it is free or this account's own; another account's id is never
   * given away, the host gets a new one instead. A host that proposes none, or one that nobody knows, is given the compute of
   * this account that has its `machine_id` and is not there: it lost its files.
   */
  async register(accountId: string, body: RegisterComputeRequest): Promise<Compute> {
    const known =
      (body.compute_id ? await this.#row(body.compute_id) : undefined) ??
      (await this.#ofMachine(accountId, body.metadata.machine_id));
    const facts = {
      label: body.label,
      kind: body.kind,
      provider: canonicalProvider(body.provider),
      capabilities_json: JSON.stringify(body.capabilities),
      metadata_json: JSON.stringify(body.metadata),
      last_heartbeat_at: this.#now(),
    };
    if (known?.account_id === accountId) {
      const row = await this.#db
        .updateTable("computes")
        .set(facts)
        .where("id", "=", known.id)
        .returningAll()
        .executeTakeFirstOrThrow();
      this.#onChange?.(accountId, row.id, "attached");
      return this.#compute(row);
    }
    await this.#refuseWhenFull(accountId);
    const row: ComputeRow = {
      ...facts,
      id: known || !body.compute_id ? newId("cmp", this.#now()) : body.compute_id,
      account_id: accountId,
      scope: "private",
      registered_at: this.#now(),
    };
    await this.#db.insertInto("computes").values(row).execute();
    this.#onChange?.(accountId, row.id, "attached");
    return this.#compute(row);
  }

  async heartbeat(accountId: string, id: string, body: HeartbeatRequest): Promise<Compute> {
    const row = await this.#db
      .updateTable("computes")
      .set({
        last_heartbeat_at: this.#now(),
        ...(body.capabilities && { capabilities_json: JSON.stringify(body.capabilities) }),
        ...(body.metadata && { metadata_json: JSON.stringify(body.metadata) }),
      })
      .where("id", "=", id)
      .where("account_id", "=", accountId)
      .returningAll()
      .executeTakeFirst();
    if (!row) throw computeNotFound(id);
    return this.#compute(row);
  }

  async list(accountId: string): Promise<Compute[]> {
    await pendingCloses();
    const rows = await this.#db
      .selectFrom("computes")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("registered_at")
      .orderBy("id")
      .execute();
    return rows.map((row) => this.#compute(row));
  }

  async get(accountId: string, id: string): Promise<Compute> {
    await pendingCloses();
    const row = await this.#row(id);
    if (row?.account_id !== accountId) throw computeNotFound(id);
    return this.#compute(row);
  }

  /** Passes one request on to a compute's own surface, and its answer back. */
  async exec(
    accountId: string,
    id: string,
    { method, path, query = {}, body }: ComputeExecRequest,
    signal: AbortSignal,
  ): Promise<Response> {
    await this.get(accountId, id);
    const url = new URL(`http://compute${path}`);
    // `/api/../x` would be another path to the relay than the one that was checked.
    if (!url.pathname.startsWith("/api/"))
      throw new CerverError("invalid_request", "path: it has to stay below /api/.");
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    const hasBody = body !== undefined && method !== "GET" && method !== "DELETE";
    return this.#hub.fetch(
      id,
      new Request(url, {
        method,
        signal: AbortSignal.any([signal, AbortSignal.timeout(EXEC_TIMEOUT_MS)]),
        ...(hasBody && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
      }),
    );
  }

  /** Detaches a compute: its channel is closed and its row deleted. Sessions keep their transcripts. */
  async remove(accountId: string, id: string): Promise<void> {
    await this.get(accountId, id);
    await this.#db.deleteFrom("computes").where("id", "=", id).execute();
    this.#hub.detach(id, 4410, "this compute was removed from its account");
    this.presence.forget(id);
    this.#onChange?.(accountId, id, "removed");
  }

  #row(id: string): Promise<ComputeRow | undefined> {
    return this.#db.selectFrom("computes").selectAll().where("id", "=", id).executeTakeFirst();
  }

  /**
   * The compute that a machine was before it lost its id. One that is there is not given away: then this is another machine
   * with the same id, such as a copy of its disk. Neither is one that was given to a machine a moment ago.
   */
  async #ofMachine(accountId: string, machineId: unknown): Promise<ComputeRow | undefined> {
    if (typeof machineId !== "string" || machineId.length < MIN_MACHINE_ID) return undefined;
    const now = this.#now();
    for (const [id, at] of this.#returned) if (now - at >= RETURNED_MS) this.#returned.delete(id);
    const rows = await this.#db
      .selectFrom("computes")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("last_heartbeat_at", "desc")
      .execute();
    const row = rows.find(
      ({ id, metadata_json }) =>
        JSON.parse(metadata_json).machine_id === machineId &&
        !this.#hub.isOnline(id) &&
        !this.#returned.has(id),
    );
    if (row) this.#returned.set(row.id, now);
    return row;
  }

  async #refuseWhenFull(accountId: string): Promise<void> {
    const { count } = await this.#db
      .selectFrom("computes")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .where("account_id", "=", accountId)
      .executeTakeFirstOrThrow();
    if (Number(count) < MAX_COMPUTES_PER_ACCOUNT) return;
    throw new CerverError("conflict", `This account has ${count} computes, as many as it may have.`, {
      hint: "Remove one that is gone: DELETE /v2/computes/COMPUTE_ID.",
    });
  }

  #compute(row: ComputeRow): Compute {
    return {
      compute_id: row.id,
      label: row.label,
      provider: row.provider,
      kind: row.kind,
      scope: row.scope,
      status: this.#hub.isOnline(row.id) ? "ready" : "offline",
      last_heartbeat_at:
        row.last_heartbeat_at === null ? null : new Date(row.last_heartbeat_at).toISOString(),
      capabilities: JSON.parse(row.capabilities_json),
      metadata: JSON.parse(row.metadata_json),
      owner_id: row.account_id,
    };
  }
}

/**
 * Lets the closing of a link that has already reached this process be heard before anybody is told who is there: it may
 * wait behind the very request that asks.
 */
async function pendingCloses(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

function computeNotFound(id: string): CerverError {
  return new CerverError("compute_not_found", `This account has no compute ${id}.`, {
    hint: "List the computes there are with GET /v2/computes or `cerver computes`.",
  });
}
