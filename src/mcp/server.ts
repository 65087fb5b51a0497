import { McpServer } from "@modelcontextprotocol/server";
import { type McpDeps, mayRun } from "./deps.js";
import { pickUp } from "./prompts/pick-up.js";
import { runOutputResource } from "./resources/run-output.js";
import { transcriptResource } from "./resources/transcript.js";
import { CAPABILITIES, INSTRUCTIONS, SERVER_INFO } from "./server-facts.js";
import { computes } from "./tools/computes.js";
import { run } from "./tools/run.js";
import { runCancel } from "./tools/run-cancel.js";
import { runWait } from "./tools/run-wait.js";
import { secretFetch } from "./tools/secret-fetch.js";
import { sessionAppend } from "./tools/session-append.js";
import { sessionCreate } from "./tools/session-create.js";
import { sessionExport } from "./tools/session-export.js";
import { sessionList } from "./tools/session-list.js";
import { sessionPeek } from "./tools/session-peek.js";
import { sessionSearch } from "./tools/session-search.js";

/** An MCP server with cerver's tools, resources and prompt, as far as the caller's token reaches, for one connection. */
export function createMcpServer(deps: McpDeps): McpServer {
  const server = new McpServer(SERVER_INFO, { capabilities: CAPABILITIES, instructions: INSTRUCTIONS });
  const memory = [sessionList, sessionSearch, sessionPeek, sessionExport];
  const work = [sessionCreate, run, runWait, runCancel, sessionAppend, computes, secretFetch];
  for (const register of mayRun(deps) ? [...memory, ...work] : memory) register(server, deps);
  transcriptResource(server, deps);
  runOutputResource(server, deps);
  pickUp(server, deps);
  return server;
}
