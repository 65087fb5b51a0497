import type { GatewayClient } from "../client/gateway-client.js";
import type { CreateSessionRequest } from "../protocol/sessions.js";
import { type Facts, hashOf, type Tool } from "./formats/format.js";
import { leaves } from "./leaves.js";

/** The label that a synced session is found by. */
export const SYNC_LABEL = "sync";

/** Names a session of a tool, or a sub-agent within it, for ever. */
export function syncIdOf(tool: Tool, sessionId: string, agentId?: string): string {
  const id = `${tool}:${sessionId}${agentId === undefined ? "" : `/${agentId}`}`;
  return id.length <= 200 ? id : `${tool}:${hashOf(id)}`;
}

/**
 * The cerver session of a tool's session: found by its label, or made. The key makes a create that was cut off and one
 * that follows it the same.
 */
export async function sessionFor(
  client: GatewayClient,
  target: { syncId: string; tool: Tool; facts: Facts; parentSessionId: string | undefined },
  signal: AbortSignal,
): Promise<string> {
  const { sessions } = await client.sessions({ labels: { [SYNC_LABEL]: target.syncId }, limit: 1 }, signal);
  if (sessions[0]) return sessions[0].sessionId;
  const created = await client.createSession(requestFor(target), signal, `sync-${hashOf(target.syncId)}`);
  return created.session_id;
}

function requestFor({
  syncId,
  tool,
  facts,
  parentSessionId,
}: Parameters<typeof sessionFor>[1]): CreateSessionRequest {
  const about = {
    working_dir: facts.workingDir,
    branch: facts.branch,
    repository: facts.repository,
    model: facts.model,
    tool_version: facts.version,
    started_at: facts.startedAt,
  };
  const known = Object.entries(about).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, leaves(value).slice(0, 4_096)]],
  );
  return {
    session_name: nameOf(facts) ?? syncId.slice(0, 60),
    session_type: "transcript",
    compute: null,
    agent: tool,
    ...(parentSessionId !== undefined && { parent_session_id: parentSessionId }),
    metadata: { source: "sync", agent: tool, ...Object.fromEntries(known) },
    labels: { [SYNC_LABEL]: syncId },
  };
}

function nameOf({ title, prompt }: Facts): string | undefined {
  // Private passages go before the text is cut: half a marker hides nothing.
  const name = leaves(title ?? prompt ?? "")
    .replace(/\s+/g, " ")
    .trim();
  return name === "" ? undefined : name.slice(0, 80);
}
