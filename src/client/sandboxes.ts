import { FileWritten, SandboxDeleted, SandboxStateAnswer, StateKept } from "../protocol/answers.js";
import { RunEvent, timeoutOf } from "../protocol/runs.js";
import { FileContent, SandboxAnswer, SandboxRunAnswer } from "../protocol/sandbox.js";
import { at, type GatewayHttp } from "./http.js";
import { RUN_ALLOWANCE_MS, RUN_STREAM } from "./run-stream.js";
import type * as wire from "./wire.js";

const CREATE_TIMEOUT_MS = 90_000;
const INSTALL_TIMEOUT_S = 300;

/** The compute layer as it is, for those who need no session. */
export interface SandboxCalls {
  createSandbox(body?: wire.NewSandboxRequest, signal?: AbortSignal): Promise<wire.Sandbox>;
  runInSandbox(id: string, body: wire.RunRequest, signal?: AbortSignal): Promise<wire.SandboxRunAnswer>;
  /** Runs and yields the events while they happen. Leaving early ends the run. */
  runStreamInSandbox(id: string, body: wire.RunRequest, signal?: AbortSignal): AsyncGenerator<wire.RunEvent>;
  installInSandbox(
    id: string,
    body: wire.InstallRequest,
    signal?: AbortSignal,
  ): Promise<wire.SandboxRunAnswer>;
  writeFile(id: string, body: wire.WriteFileRequest): Promise<wire.FileWritten>;
  readFile(id: string, path: string, encoding?: "utf8" | "base64"): Promise<wire.FileContent>;
  sandboxState(id: string): Promise<Record<string, unknown>>;
  setSandboxState(id: string, state: Record<string, unknown>): Promise<void>;
  deleteSandbox(id: string): Promise<wire.SandboxDeleted>;
}

export function sandboxCalls(http: GatewayHttp): SandboxCalls {
  return {
    createSandbox: (body = {}, signal) =>
      http.json("POST", "/sandbox", SandboxAnswer, { body, signal, timeoutMs: CREATE_TIMEOUT_MS }),
    runInSandbox: (id, body, signal) =>
      http.json("POST", at`/sandbox/${id}/run`, SandboxRunAnswer, {
        body,
        signal,
        timeoutMs: timeoutOf(body) * 1000 + RUN_ALLOWANCE_MS,
      }),
    runStreamInSandbox: (id, body, signal) =>
      http.items("POST", at`/sandbox/${id}/run/stream`, RunEvent, { body, signal, ...RUN_STREAM }),
    installInSandbox: (id, body, signal) =>
      http.json("POST", at`/sandbox/${id}/install`, SandboxRunAnswer, {
        body,
        signal,
        timeoutMs: (body.timeout ?? INSTALL_TIMEOUT_S) * 1000 + RUN_ALLOWANCE_MS,
      }),
    writeFile: (id, body) => http.json("PUT", at`/sandbox/${id}/files`, FileWritten, { body }),
    readFile: (id, path, encoding) =>
      http.json("GET", at`/sandbox/${id}/files`, FileContent, { query: { path, encoding } }),
    sandboxState: async (id) => (await http.json("GET", at`/sandbox/${id}/state`, SandboxStateAnswer)).state,
    async setSandboxState(id, body) {
      await http.json("PUT", at`/sandbox/${id}/state`, StateKept, { body });
    },
    deleteSandbox: (id) => http.json("DELETE", at`/sandbox/${id}`, SandboxDeleted),
  };
}
