import { randomInt } from "node:crypto";
import type { DeviceLogin, DevicePollAnswer, StartDeviceLoginRequest } from "../../protocol/device-login.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { Scope } from "../../protocol/scopes.js";
import type { Database, DeviceLoginRow } from "../store/schema.js";
import type { ApiTokens } from "./api-tokens.js";
import { AttemptLimit } from "./attempt-limit.js";
import { hashSecret, randomSecret } from "./token-format.js";

/** A code can be approved for this long. */
const LOGIN_LIFE_SECONDS = 900;
const POLL_INTERVAL_SECONDS = 5;
/** Added for a client that polls too fast (RFC 8628, section 3.5). */
const SLOW_DOWN_SECONDS = 5;
/** Logins that wait at once, in all and from one address: nobody can fill the table. */
const MAX_PENDING = 1_000;
const MAX_PENDING_PER_ADDRESS = 20;
/** After so many wrong codes, a visitor has to wait until a code's life is over. */
const MAX_WRONG_CODES = 5;

/** Consonants that are not mistaken for one another or for digits, and spell no words (RFC 8628, section 6.1). */
const LETTERS = "BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH = 8;

/** A login as the approval page shows it. */
export interface PendingLogin {
  id: string;
  userCode: string;
  machineName: string;
  scopes: Scope[];
  ip: string;
  createdAt: number;
  expiresAt: number;
}

export interface DeviceCodesDeps {
  db: Database;
  tokens: ApiTokens;
  /** Seconds between two polls. @default 5 */
  intervalSeconds?: number;
  now?: () => number;
}

/** Device login (RFC 8628): a machine shows a code, a person approves it in a browser, the machine gets a token. */
export class DeviceCodes {
  readonly #db: Database;
  readonly #tokens: ApiTokens;
  readonly #interval: number;
  readonly #now: () => number;
  readonly #wrongCodes: AttemptLimit;

  constructor({ db, tokens, intervalSeconds = POLL_INTERVAL_SECONDS, now = Date.now }: DeviceCodesDeps) {
    this.#db = db;
    this.#tokens = tokens;
    this.#interval = intervalSeconds;
    this.#now = now;
    this.#wrongCodes = new AttemptLimit({ max: MAX_WRONG_CODES, windowMs: LOGIN_LIFE_SECONDS * 1000, now });
  }

  /** Begins a login. The two codes leave here once and are kept as hashes. */
  async start(request: StartDeviceLoginRequest, ip: string, publicUrl: string): Promise<DeviceLogin> {
    const now = this.#now();
    await this.#makeRoom(ip, now);
    const deviceCode = randomSecret();
    const userCode = newUserCode();
    await this.#db
      .insertInto("device_logins")
      .values({
        id: newId("dev", now),
        device_code_hash: hashSecret(deviceCode),
        user_code_hash: hashSecret(userCode),
        machine_name: request.machine_name || "unknown machine",
        scopes: (request.scopes ?? ["run"]).join(" "),
        ip,
        status: "pending",
        account_id: null,
        poll_interval: this.#interval,
        last_polled_at: null,
        created_at: now,
        expires_at: now + LOGIN_LIFE_SECONDS * 1000,
      })
      .execute();
    const shown = dashed(userCode);
    return {
      device_code: deviceCode,
      user_code: shown,
      verification_uri: `${publicUrl}/approve?code=${shown}`,
      expires_in: LOGIN_LIFE_SECONDS,
      interval: this.#interval,
    };
  }

  /** One poll of the machine. The token is made at the poll that finds the login approved, and given once. */
  async poll(deviceCode: string): Promise<DevicePollAnswer> {
    const now = this.#now();
    const row = await this.#db
      .selectFrom("device_logins")
      .selectAll()
      .where("device_code_hash", "=", hashSecret(deviceCode))
      .executeTakeFirst();
    if (!row || row.status === "redeemed") return { error: "invalid_device_code" };
    if (row.status === "denied") return { error: "access_denied" };
    if (row.expires_at <= now) return { error: "expired_token" };
    if (row.status === "approved") return this.#redeem(row, row.account_id!);
    const tooFast = row.last_polled_at !== null && now - row.last_polled_at < row.poll_interval * 1000 - 500;
    const interval = tooFast ? row.poll_interval + SLOW_DOWN_SECONDS : row.poll_interval;
    await this.#db
      .updateTable("device_logins")
      .set({ last_polled_at: now, poll_interval: interval })
      .where("id", "=", row.id)
      .execute();
    return tooFast ? { error: "slow_down", interval } : { error: "authorization_pending" };
  }

  /**
   * The login that waits under a code somebody typed. Throws `too_many_requests` for a visitor with five wrong codes
   * in fifteen minutes; `visitor` is whatever tells visitors apart.
   */
  async find(typed: string, visitor: string): Promise<PendingLogin | undefined> {
    if (this.#wrongCodes.isOver(visitor)) {
      throw new CerverError("too_many_requests", "Too many wrong codes were typed here.", {
        hint: "Wait fifteen minutes, then start the login again on your machine.",
      });
    }
    const userCode = typed.toUpperCase().replace(/[^A-Z]/g, "");
    const row =
      userCode.length === CODE_LENGTH
        ? await this.#db
            .selectFrom("device_logins")
            .selectAll()
            .where("user_code_hash", "=", hashSecret(userCode))
            .where("status", "=", "pending")
            .where("expires_at", ">", this.#now())
            .executeTakeFirst()
        : undefined;
    if (!row) {
      this.#wrongCodes.count(visitor);
      return undefined;
    }
    return {
      id: row.id,
      userCode: dashed(userCode),
      machineName: row.machine_name,
      scopes: row.scopes.split(" ") as Scope[],
      ip: row.ip,
      createdAt: row.created_at,
      expiresAt: row.expires_at,
    };
  }

  /** Settles a login for an account. False when it is not waiting any more. */
  async decide(loginId: string, accountId: string, decision: "approved" | "denied"): Promise<boolean> {
    const row = await this.#db
      .updateTable("device_logins")
      .set({ status: decision, account_id: accountId })
      .where("id", "=", loginId)
      .where("status", "=", "pending")
      .where("expires_at", ">", this.#now())
      .returning("id")
      .executeTakeFirst();
    return row !== undefined;
  }

  async #redeem(
    row: Pick<DeviceLoginRow, "id" | "machine_name" | "scopes">,
    accountId: string,
  ): Promise<DevicePollAnswer> {
    const key = await this.#db.transaction().execute(async (tx) => {
      const mine = await tx
        .updateTable("device_logins")
        .set({ status: "redeemed" })
        .where("id", "=", row.id)
        .where("status", "=", "approved")
        .returning("id")
        .executeTakeFirst();
      if (!mine) return undefined;
      const token = { label: row.machine_name, scopes: row.scopes.split(" ") as Scope[] };
      return (await this.#tokens.create(accountId, token, tx)).key;
    });
    if (key === undefined) return { error: "invalid_device_code" };
    return { status: "approved", access_token: key, account_id: accountId, user_id: accountId };
  }

  async #makeRoom(ip: string, now: number): Promise<void> {
    await this.#db
      .deleteFrom("device_logins")
      .where("expires_at", "<", now - LOGIN_LIFE_SECONDS * 1000)
      .execute();
    const { all, here } = await this.#db
      .selectFrom("device_logins")
      .select(({ fn, eb }) => [
        fn.countAll<number>().as("all"),
        fn.sum<number>(eb.case().when("ip", "=", ip).then(1).else(0).end()).as("here"),
      ])
      .where("status", "=", "pending")
      .where("expires_at", ">", now)
      .executeTakeFirstOrThrow();
    if (Number(all) < MAX_PENDING && Number(here ?? 0) < MAX_PENDING_PER_ADDRESS) return;
    throw new CerverError("too_many_requests", "Too many logins wait for approval.", {
      hint: "Approve or deny the ones you have started, or wait fifteen minutes.",
      details: { retry_after_ms: LOGIN_LIFE_SECONDS * 1000 },
    });
  }
}

function newUserCode(): string {
  return Array.from({ length: CODE_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}

function dashed(code: string): string {
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}
