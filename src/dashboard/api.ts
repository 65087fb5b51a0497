import { CerverError, GatewayClient } from "../client/index.js";
import { createStore, useStore } from "./store.js";

/** The gateway that this page came from. The sign-in's cookie goes along by itself. */
export const cerver = new GatewayClient({ gatewayUrl: location.origin });

/** Whether this browser may see anything; `unknown` until the gateway has said so. */
export type Signin =
  | { state: "unknown" }
  | { state: "in"; accountId: string }
  | { state: "out" }
  | { state: "failed"; error: CerverError };

const signin = createStore<Signin>({ state: "unknown" });
export const useSignin = () => useStore(signin);

/** Asks the gateway who this browser is. */
export async function askWhoIAm(): Promise<void> {
  try {
    const { account_id = "" } = await cerver.whoami();
    signin.set({ state: "in", accountId: account_id });
  } catch (error) {
    const known = asCerverError(error);
    if (known.code === "unauthenticated") signin.set({ state: "out" });
    // A gateway that is away for a moment signs nobody out.
    else if (signin.get().state !== "in") signin.set({ state: "failed", error: known });
  }
}

/** Ends this browser's sign-in. */
export async function signOut(): Promise<void> {
  await fetch("/signout", { method: "POST", redirect: "manual" });
  signin.set({ state: "out" });
}

/** Whatever was thrown, as what a person can read. A refusal of the sign-in shows the way in again. */
export function asCerverError(error: unknown): CerverError {
  if (error instanceof CerverError) {
    if (error.code === "unauthenticated" && signin.get().state === "in") signin.set({ state: "out" });
    return error;
  }
  return new CerverError("internal", error instanceof Error ? error.message : String(error), {
    hint: "This is a fault of the page. Load it again; if it stays, report it.",
    cause: error,
  });
}
