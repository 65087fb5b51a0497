import type { ProviderName } from "../../protocol/providers.js";
import type {
  CreateSandboxRequest,
  FileEncoding,
  InstallRequest,
  SandboxRunRequest,
  WriteFileRequest,
} from "../../protocol/sandbox.js";

/** One sandbox on one compute. */
export interface SandboxRecord {
  sandboxId: string;
  computeId: string;
  provider: ProviderName;
}

/** What an adapter gets with every call, beside the words of the request. */
export interface ProviderEnv {
  /** The compute to create on. */
  computeId: string;
  /** Aborted when the caller is gone: whatever was started for it must end. */
  signal: AbortSignal;
  /** The account's own credentials for this provider, opened for this call. */
  credentials: Readonly<Record<string, string>>;
}

/**
 * The compute contract: implement it and a provider becomes runnable.
 *
 * A `Response` below 400 is an answer, whatever the exit code in it; other statuses carry an `ErrorBody`.
 * `runSandbox` and `installPackage` answer with a `SandboxRunAnswer`, `runSandboxStream` with server-sent `RunEvent`s,
 * `readFile` with a `FileContent`, `getState` with `{state}`. Failures may also be thrown, as a `CerverError`.
 */
export interface CerverInterface {
  readonly providerName: ProviderName;
  createSandbox(request: CreateSandboxRequest, env: ProviderEnv): Promise<SandboxRecord>;
  runSandbox(record: SandboxRecord, request: SandboxRunRequest, env: ProviderEnv): Promise<Response>;
  runSandboxStream(record: SandboxRecord, request: SandboxRunRequest, env: ProviderEnv): Promise<Response>;
  installPackage(record: SandboxRecord, request: InstallRequest, env: ProviderEnv): Promise<Response>;
  writeFile(record: SandboxRecord, request: WriteFileRequest, env: ProviderEnv): Promise<Response>;
  readFile(record: SandboxRecord, path: string, encoding: FileEncoding, env: ProviderEnv): Promise<Response>;
  getState(record: SandboxRecord, env: ProviderEnv): Promise<Response>;
  setState(record: SandboxRecord, state: Record<string, unknown>, env: ProviderEnv): Promise<Response>;
  deleteSandbox(record: SandboxRecord, env: ProviderEnv): Promise<Response>;
}
