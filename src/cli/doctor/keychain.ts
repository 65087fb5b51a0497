import type { Probe } from "./probe.js";

/** Whether the system's keychain keeps something and gives it back, and what that means for credentials. */
export const keychainProbe: Probe = {
  name: "keychain",
  limitMs: 12_000,
  async run({ cli: { env, credentials }, signal }) {
    const { credentialsChoice } = await import("../../login/credential-store.js");
    const choice = credentialsChoice(env);
    if (choice === "file")
      return {
        status: "skipped",
        what: "CERVER_CREDENTIALS keeps credentials in a file, so it was not looked at",
      };
    const { Keychain, KeychainFailure } = await import("../../login/keychain.js");
    const { randomUUID } = await import("node:crypto");
    const keychain = new Keychain(env);
    const name = `doctor ${randomUUID()}`;
    try {
      await keychain.put({ [name]: "round trip" }, signal);
      await keychain.remove([name], signal);
      return { status: "ok", what: `${keychain.label} keeps credentials and gives them back` };
    } catch (error) {
      if (!(error instanceof KeychainFailure)) throw error;
      const { keysInKeychain, file } = await (await credentials()).places();
      if (choice === undefined && keysInKeychain.length === 0)
        return { status: "skipped", what: `credentials are in ${file}, because ${error.message}` };
      return {
        status: "fail",
        what: `${keysInKeychain.length > 0 ? "credentials are" : "credentials shall be"} in ${keychain.label}, and ${error.message}`,
        fix: "Unlock it; or set CERVER_CREDENTIALS=file and log in again, to keep the token in a file.",
      };
    }
  },
};
