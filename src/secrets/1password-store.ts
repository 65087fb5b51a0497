import type { Store } from "./store-failure.js";

export const ONE_PASSWORD: Store = {
  title: "1Password",
  hints: {
    not_found:
      "Check the vault, the item and the field, and that the service account or the person may see that vault.",
    refused: "Grant read access to this vault: for a service account, when it is made.",
    expired: "Set a valid OP_SERVICE_ACCOUNT_TOKEN where cerver is configured, or sign in with `op signin`.",
    unreachable: "Check this machine's connection to 1password.com, then ask again.",
    rate_limited:
      "Wait some minutes, then ask again: a service account has a number of reads an hour and a day.",
  },
};

/** Reads one `op://` reference. The name is what it was asked for by, for what is said about it. */
export type OpReader = (reference: string, name: string, signal: AbortSignal) => Promise<string>;
