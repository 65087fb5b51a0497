import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import type { SyncConfig } from "./config.js";
import { parseClaudeCode } from "./formats/claude-code.js";
import { parseCodex } from "./formats/codex.js";
import type { Parsed, Tool } from "./formats/format.js";

/** A transcript file on this machine. */
export interface SourceFile {
  tool: Tool;
  path: string;
  /** The session as the file's name tells it. */
  nameId: string;
  /** Of a file that holds one sub-agent. */
  agentId: string | undefined;
}

/** How the lines of a tool are read; undefined for files that are one JSON value. */
export const LINE_PARSERS: Record<Tool, ((line: string, key: string) => Parsed) | undefined> = {
  "claude-code": parseClaudeCode,
  codex: parseCodex,
  gemini: undefined,
};

const ROLLOUT = /^rollout-.*?-([0-9a-f]{8}-[0-9a-f-]{27})\.jsonl$/;

/** Every transcript file that is there now, sub-agents after those that may have started them. */
export async function findSources(config: SyncConfig): Promise<SourceFile[]> {
  const claude = (await namesUnder(config.claudeDir)).filter((name) => name.endsWith(".jsonl"));
  const codex = (await namesUnder(config.codexDir)).filter((name) =>
    /(?:^|\/)rollout-[^/]*\.jsonl$/.test(name),
  );
  const gemini = (await namesUnder(config.geminiDir)).filter((name) =>
    /\/chats\/session-[^/]*\.json$/.test(name),
  );
  const files = [
    ...claude.map((name) => source("claude-code", join(config.claudeDir, name))),
    ...codex.map((name) => source("codex", join(config.codexDir, name))),
    ...gemini.map((name) => source("gemini", join(config.geminiDir, name))),
  ];
  const isAgent = ({ agentId }: SourceFile) => Number(agentId !== undefined);
  return files.sort((a, b) => isAgent(a) - isAgent(b) || (a.path < b.path ? -1 : 1));
}

function source(tool: Tool, path: string): SourceFile {
  const name = basename(path);
  const stem = name.replace(/\.jsonl?$/, "");
  const agentId = tool === "claude-code" ? /^agent-(.+)$/.exec(stem)?.[1] : undefined;
  return { tool, path, nameId: ROLLOUT.exec(name)?.[1] ?? stem, agentId };
}

async function namesUnder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder, { recursive: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The tool is not used here; a folder that goes away while it is read is looked at again in the next pass.
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
