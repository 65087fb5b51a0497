import { join } from "node:path";
import { type LockHolder, lockHolder } from "../util/lock-file.js";
import { type KeeperLook, lookAtKeeper } from "./daemon/keeper-look.js";
import { type RelayRecord, readRelayRecord } from "./record.js";

/** The log of a relay that runs as a service, in its state folder. */
export const relayLogPath = (stateDir: string) => join(stateDir, "relay.log");

/** What can be seen of a relay on its own machine. */
export interface LocalStatus {
  /** The relay that runs; undefined when none does. */
  relay: LockHolder | undefined;
  /** What the last one knew of itself, whether it runs or not. */
  record: RelayRecord | undefined;
  keeper: KeeperLook | undefined;
}

/** Looks at the relay of a state folder from outside. */
export async function localStatus(stateDir: string): Promise<LocalStatus> {
  const [relay, record, keeper] = await Promise.all([
    lockHolder(join(stateDir, "relay.lock")),
    readRelayRecord(stateDir),
    lookAtKeeper(stateDir),
  ]);
  return { relay, record, keeper };
}
