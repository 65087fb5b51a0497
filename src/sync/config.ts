import { homedir } from "node:os";
import { join } from "node:path";
import { cerverPaths, type Env } from "../util/paths.js";

/** How sync runs. */
export interface SyncConfig {
  /** Folders that the tools write their transcripts under. */
  claudeDir: string;
  codexDir: string;
  geminiDir: string;
  stateDir: string;
  /** Milliseconds between two looks at all files, where nothing woke it earlier. */
  pollMs: number;
}

export function syncConfig(env: Env): SyncConfig {
  const home = env.HOME || homedir();
  return {
    claudeDir: join(env.CLAUDE_CONFIG_DIR || join(home, ".claude"), "projects"),
    codexDir: join(env.CODEX_HOME || join(home, ".codex"), "sessions"),
    geminiDir: join(home, ".gemini", "tmp"),
    stateDir: join(cerverPaths(env).state, "sync"),
    pollMs: 5_000,
  };
}
