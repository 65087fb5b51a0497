import type { ListeningPort } from "../../protocol/ports.js";
import type { ProviderName, RehearsalName } from "../../protocol/providers.js";
import type {
  CreateSandboxRequest,
  FileEncoding,
  InstallRequest,
  KeptRun,
  SandboxRunRequest,
  WriteFileRequest,
} from "../../protocol/sandbox.js";
import type { AppliedTree, MissingBlobs, WrittenBlobs } from "../../protocol/tree.js";

/** One sandbox on one compute. */
export interface SandboxRecord {
  sandboxId: string;
  computeId: string;
  provider: ProviderName;
}

/** What an adapter gets with every call, beside the words of the request. */
export interface ProviderEnv {
  /** Whose call it is: how a gateway finds the credentials. An adapter that is used by itself needs none. */
  accountId?: string;
  /** The compute to create on. */
  computeId: string;
  /** Aborted when the caller is gone: whatever was started for it must end. */
  signal: AbortSignal;
  /** The account's own credentials for this provider, opened for this call: none for its own machines. */
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

/** What a machine that keeps its runs has to be told with each call: it holds no credentials of the account. */
export type MachineEnv = Pick<ProviderEnv, "computeId" | "signal">;

/** One run that a provider keeps. */
export interface RunRef {
  computeId: string;
  runId: string;
}

/**
 * What a provider can do beyond the contract when its runs outlive the request that started them: they are found again
 * by id, followed from any byte, and their end is told from a wait status only.
 */
export interface DurableRuns {
  /** Starts a run of its own; an id starts one run, however often it is sent. */
  start(record: SandboxRecord, request: SandboxRunRequest, env: MachineEnv): Promise<KeptRun>;
  /** What is known of these runs. One that is not in the answer never began. */
  lookup(runIds: readonly string[], env: MachineEnv): Promise<KeptRun[]>;
  /** Waits for the end of a run: a `SandboxRunAnswer`. */
  answer(ref: RunRef, env: MachineEnv): Promise<Response>;
  /** Server-sent `RunEvent`s from these offsets on. */
  stream(ref: RunRef, offsets: { stdout: number; stderr: number }, env: MachineEnv): Promise<Response>;
  /** Raw bytes; the headers `x-cerver-output-from`, `-until` and `-bytes` say which. `until` is not included. */
  output(
    ref: RunRef,
    range: { stream: "stdout" | "stderr"; from: number; until: number | undefined },
    env: MachineEnv,
  ): Promise<Response>;
  /** Gives input: a `StdinAnswer`. */
  stdin(
    ref: RunRef,
    input: { bytes: Uint8Array; offset: number | undefined; close: boolean },
    env: MachineEnv,
  ): Promise<Response>;
  /** Ends a run's processes, and tells what became of it, with a receipt. */
  cancel(ref: RunRef, env: MachineEnv): Promise<KeptRun>;
  /** A line of JSON `{run_id}` for each run that ends without anybody who waits for it; an empty line first. */
  ends(env: MachineEnv): Promise<Response>;
}

/** What of a folder is wanted. */
export interface FolderOptions {
  /** Leave secrets that git ignores behind; the manifest of a folder that has some refuses them otherwise. */
  leaveSecrets: boolean;
  /** Leave all behind that git ignores. */
  skipIgnored: boolean;
}

/**
 * What a provider can do beyond the contract when a sandbox's working folder can be carried to another one: by its
 * manifest, and by the contents that the other side misses. `src/protocol/tree.ts` has the words, docs/move.md the
 * formats. A provider that cannot, such as a public relay, throws `unsupported`. `carry` names one carrying.
 */
export interface FolderCarrier {
  /** Lines of JSON: a `ManifestHead`, then a `TreeEntry` each. */
  manifest(
    record: SandboxRecord,
    options: FolderOptions,
    env: MachineEnv,
  ): Promise<ReadableStream<Uint8Array>>;
  /** Contents that the last manifest names, as a pack. */
  read(
    record: SandboxRecord,
    sha256: readonly string[],
    env: MachineEnv,
  ): Promise<ReadableStream<Uint8Array>>;
  /**
   * Begins to take a folder by its manifest. The sandbox's own has to be empty, or hold this very tree, or the one whose
   * hash is `replaces`: `conflict` otherwise.
   */
  expect(
    record: SandboxRecord,
    carry: string,
    wish: { manifest: ReadableStream<Uint8Array>; replaces: string | undefined },
    env: MachineEnv,
  ): Promise<MissingBlobs>;
  missing(record: SandboxRecord, carry: string, env: MachineEnv): Promise<MissingBlobs>;
  /** Takes a pack. Contents that do not have their hash are dropped, and named by {@link missing}. */
  write(
    record: SandboxRecord,
    carry: string,
    pack: ReadableStream<Uint8Array>,
    env: MachineEnv,
  ): Promise<WrittenBlobs>;
  /** Puts what came into the folder, as a whole or not at all. */
  apply(record: SandboxRecord, carry: string, env: MachineEnv): Promise<AppliedTree>;
  /** Ends a carrying that failed: nothing of it stays. */
  discard(record: SandboxRecord, carry: string, env: MachineEnv): Promise<void>;
}

/** What a cloud vendor's adapter can do beyond the contract. Failures are thrown, as a `CerverError`. */
export interface CloudAccount {
  /** The names of the credentials it needs, and those it can do without. */
  readonly credentialNames: { readonly required: readonly string[]; readonly optional: readonly string[] };
  /** Asks the vendor whether these credentials work. Throws `credentials_refused` with the vendor's own words. */
  verify(env: ProviderEnv): Promise<void>;
  /** The sandboxes that were made for a session: so a create whose answer was lost is found again. */
  find(sessionId: string, env: ProviderEnv): Promise<SandboxRecord[]>;
  /** The address under which the vendor shows a port of a sandbox to the world. */
  portUrl?(record: SandboxRecord, port: number, env: ProviderEnv): Promise<string>;
  /** Puts a sandbox to sleep with its files, where the vendor can. */
  suspend?(record: SandboxRecord, env: ProviderEnv): Promise<void>;
  /** Wakes it again: the record may be another one afterwards. */
  wake?(record: SandboxRecord, env: ProviderEnv): Promise<SandboxRecord>;
}

/**
 * What a provider can do beyond the contract when requests can be passed on to servers inside a sandbox. Only ports that
 * the sandbox's own processes listen on are reached: others are `not_found`. Failures are thrown, as a `CerverError`.
 */
export interface PortForwarding {
  /** The TCP ports that are listened on. */
  list(record: SandboxRecord, env: ProviderEnv): Promise<ListeningPort[]>;
  /** Passes one request on: its URL's path and query are those at the server, bodies are streamed both ways. */
  forward(record: SandboxRecord, port: number, request: PortRequest, env: ProviderEnv): Promise<Response>;
  /**
   * Passes a websocket handshake on, then raw bytes: the request's body and the answer's are the two directions. A server
   * that refuses has `accepted` false, and the response is its answer.
   */
  socket(record: SandboxRecord, port: number, request: PortRequest, env: ProviderEnv): Promise<PortSocket>;
}
export interface PortRequest {
  method: string;
  /** With its query, beginning with a slash. */
  path: string;
  headers: Headers;
  body: ReadableStream<Uint8Array> | null;
}
export interface PortSocket {
  accepted: boolean;
  response: Response;
}

/** An adapter: the contract, and what the provider can do beyond it. */
export type ProviderAdapter = CerverInterface & {
  readonly durable?: DurableRuns;
  readonly ports?: PortForwarding;
  readonly folder?: FolderCarrier;
  readonly cloud?: CloudAccount;
  /** A rehearsal has the name of the provider that it stands in for, and is registered under another: see {@link registeredName}. */
  readonly registeredAs?: RehearsalName;
};

/** Under what a gateway knows an adapter, keeps its sessions and shows them. Two rehearsals may stand in for one provider. */
export function registeredName({
  registeredAs,
  providerName,
}: ProviderAdapter): ProviderName | RehearsalName {
  return registeredAs ?? providerName;
}

/** A sandbox, the adapter that reaches it, and what goes along with each call. */
export interface ReachedSandbox {
  adapter: ProviderAdapter;
  record: SandboxRecord;
  env: ProviderEnv;
}
