import { MasterKey } from "./account/master-key.js";
import { ProviderCredentials } from "./account/provider-credentials.js";
import { databaseUrl, type GatewayConfig, masterKeyFile } from "./config.js";
import { openDatabase } from "./store/database.js";

/**
 * Seals every credential with a new master key: of the key file, or with the first of `CERVER_MASTER_KEY`. A gateway that
 * runs on the file goes on. Returns how many were sealed anew.
 */
export async function rotateMasterKey(config: GatewayConfig): Promise<number> {
  const db = await openDatabase(databaseUrl(config));
  try {
    const key = await MasterKey.open({ given: config.masterKey, file: masterKeyFile(config) });
    return await new ProviderCredentials({ db, key }).rotate();
  } finally {
    await db.destroy();
  }
}
