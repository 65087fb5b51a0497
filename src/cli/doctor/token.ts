import { CerverError } from "../../protocol/errors.js";
import type { Finding, Probe } from "./probe.js";
import { shown } from "./shown.js";

const DAY_MS = 86_400_000;
/** A token that ends sooner is worth a word. */
const SOON_MS = 7 * DAY_MS;

/** Whether the gateway accepts the token, what it may do, and until when. */
export const tokenProbe: Probe = {
  name: "token",
  needs: ["login", "connection"],
  async run({ client, gateway, signal }) {
    const { gatewayUrl, tokenFrom } = await gateway();
    const login = `cerver login --gateway ${shown(gatewayUrl)}`;
    try {
      const { scopes = [], expires_at: expiresAt } = await (await client()).whoami(signal);
      const may = scopes.length > 0 ? `accepted, with the scope ${scopes.join(" and ")}` : "accepted";
      return life(may, expiresAt, login);
    } catch (error) {
      if (!(error instanceof CerverError) || error.code !== "unauthenticated") throw error;
      return {
        status: "fail",
        what: "the gateway refuses the token: it is wrong, expired or revoked",
        fix: tokenFrom === "env" ? `unset CERVER_API_TOKEN CERVER_API_KEY; ${login}` : login,
      };
    }
  },
};

function life(may: string, expiresAt: string | null | undefined, login: string): Finding {
  if (expiresAt === undefined) return { status: "ok", what: `${may}; the gateway does not say until when` };
  if (expiresAt === null) return { status: "ok", what: `${may}; it does not expire` };
  const left = Date.parse(expiresAt) - Date.now();
  const what = `${may}; it ends on ${expiresAt.slice(0, 16).replace("T", " ")} UTC`;
  return left > SOON_MS ? { status: "ok", what } : { status: "warn", what: `${what}, soon`, fix: login };
}
