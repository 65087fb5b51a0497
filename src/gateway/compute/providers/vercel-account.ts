import { createHash } from "node:crypto";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { VercelRefusal, type VercelWire } from "./vercel-wire.js";

const API = "https://vercel.com/api";
/** The project that Vercel's own tools use for sandboxes when none is said. */
const DEFAULT_PROJECT = "vercel-sandbox-default-project";
/** Pages of teams that are looked through for one that may be used. */
const MAX_TEAM_PAGES = 10;
/** Found teams and projects are remembered for this long, and for so many tokens. */
const REMEMBERED_MS = 10 * 60_000;
const MAX_REMEMBERED = 200;

/** What every request to the sandbox API needs. */
export interface VercelScope {
  token: string;
  teamId: string;
  projectId: string;
}

const User = z.object({ user: z.object({ defaultTeamId: z.string().nullish(), username: z.string() }) });
const Team = z.object({
  id: z.string(),
  slug: z.string(),
  updatedAt: z.number().optional(),
  membership: z.object({ role: z.string() }),
  billing: z.object({ plan: z.string() }),
});
const Teams = z.object({
  teams: z.array(z.unknown()),
  pagination: z.object({ next: z.number().nullable() }),
});

/**
 * Which team and project a token's sandboxes belong to.
 *
 * What the account says counts. What it does not say is found as Vercel's own command line does it: the token's default
 * team, else a Hobby team that it owns; and in it the default sandbox project, which is made when it is not there.
 */
export class VercelAccounts {
  readonly #found = new Map<string, { scope: VercelScope; until: number }>();

  async scopeOf(
    credentials: Readonly<Record<string, string>>,
    wire: VercelWire,
    signal: AbortSignal,
  ): Promise<VercelScope> {
    const { vercel_token: token, vercel_team_id: teamId, vercel_project_id: projectId } = credentials;
    if (!token) throw refused("Vercel Sandbox needs an access token.", TOKEN_HINT);
    // The SDK would replace it by one from the gateway's own environment, which is another account's.
    if (isJwt(token))
      throw refused("This vercel_token is an OIDC token, which ends after hours.", TOKEN_HINT);
    if (projectId && !teamId)
      throw refused(
        "Vercel Sandbox needs the team of a project.",
        "Add vercel_team_id: it is in the team's settings, under General.",
      );
    if (teamId && projectId) return { token, teamId, projectId };
    const key = createHash("sha256")
      .update(`${token}\0${teamId ?? ""}`)
      .digest("hex");
    const known = this.#found.get(key);
    if (known && known.until > Date.now()) return known.scope;
    const call = caller(token, wire, signal);
    const team = teamId ? await inTeam(call, teamId).then(() => teamId) : await ownTeam(call);
    const scope = { token, teamId: team, projectId: DEFAULT_PROJECT };
    if (this.#found.size >= MAX_REMEMBERED) this.#found.clear();
    this.#found.set(key, { scope, until: Date.now() + REMEMBERED_MS });
    return scope;
  }
}

type Call = (path: string, body?: unknown) => Promise<unknown>;

function caller(token: string, wire: VercelWire, signal: AbortSignal): Call {
  return async (path, body) => {
    const response = await wire.fetch(`${API}${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal,
    });
    return response.json();
  };
}

/** Finds the default project of a team, or makes it. */
async function inTeam(call: Call, team: string): Promise<void> {
  const query = team.startsWith("team_")
    ? `teamId=${encodeURIComponent(team)}`
    : `slug=${encodeURIComponent(team)}`;
  try {
    await call(`/v2/projects/${DEFAULT_PROJECT}?${query}`);
  } catch (error) {
    if (!(error instanceof VercelRefusal) || error.status !== 404) throw error;
    await call(`/v11/projects?${query}`, { name: DEFAULT_PROJECT }).catch((made: unknown) => {
      // Somebody else made it at the same moment.
      if (!(made instanceof VercelRefusal) || made.status !== 409) throw made;
    });
  }
}

/** The first team that lets this token use the default project. */
async function ownTeam(call: Call): Promise<string> {
  const { user } = User.parse(await call("/v2/user"));
  const tried = new Set<string>();
  const isUsable = async (team: string) => {
    if (tried.has(team)) return false;
    tried.add(team);
    try {
      await inTeam(call, team);
      return true;
    } catch (error) {
      if (error instanceof VercelRefusal && (error.status === 402 || error.status === 403)) return false;
      throw error;
    }
  };
  if (user.defaultTeamId && (await isUsable(user.defaultTeamId))) return user.defaultTeamId;
  let next: number | null = null;
  for (let page = 0; page < MAX_TEAM_PAGES; page++) {
    const answer: unknown = await call(`/v2/teams?limit=20${next === null ? "" : `&until=${next}`}`);
    const { teams, pagination } = Teams.parse(answer);
    const own = teams
      .flatMap((one) => Team.safeParse(one).data ?? [])
      .filter(({ membership, billing }) => membership.role === "OWNER" && billing.plan === "hobby")
      .sort((a, b) => (b.updatedAt ?? 0) - (a.updatedAt ?? 0));
    const best = own.find(({ slug }) => slug === user.username) ?? own[0];
    if (best && (await isUsable(best.id))) return best.id;
    next = pagination.next;
    if (next === null) break;
  }
  throw refused(
    "Vercel does not say in which team this token may make sandboxes.",
    "Add vercel_team_id (in the team's settings, under General) and vercel_project_id (in the project's) to the credentials.",
  );
}

/** Three parts, of which the second names an owner: what the SDK takes for a token of Vercel's own OIDC. */
function isJwt(token: string): boolean {
  const parts = token.split(".");
  if (parts.length !== 3) return false;
  try {
    return Boolean(JSON.parse(Buffer.from(parts[1]!, "base64url").toString("utf8")).owner_id);
  } catch {
    return false;
  }
}

const TOKEN_HINT =
  "Make an access token at vercel.com/account/tokens, for the team that pays, and give it as vercel_token.";

function refused(sentence: string, hint: string): CerverError {
  return new CerverError("credentials_refused", sentence, { hint, details: { vendor: "Vercel Sandbox" } });
}
