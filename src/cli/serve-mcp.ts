import { type CliContext, cliContext } from "./context.js";

/** `cerver mcp` without options: what agents start, and wait for. It loads nothing of the other verbs. */
export function run(process: NodeJS.Process): Promise<void> {
  return serveMcp(cliContext(process));
}

/** Serves MCP on this process's stdin and stdout. */
export async function serveMcp(context: CliContext, gateway?: string): Promise<void> {
  const { env, process } = context;
  const { answerHandshake } = await import("../mcp/handshake.js");
  const answered = await answerHandshake(process.stdin, process.stdout);
  const { startMcp } = await import("../mcp/start.js");
  await startMcp({ choose: () => context.gateway(gateway), env, process, answered });
}
