import type { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { PROVIDER_PATH } from "../../../protocol/sandbox.js";
import { AppliedTree, MissingBlobs, TREE_PATH, WrittenBlobs } from "../../../protocol/tree.js";
import type { FolderCarrier, MachineEnv, SandboxRecord } from "../contract.js";
import type { ComputeFetch } from "./p69.js";

/** The working folders of a relay's sandboxes, which a public relay does not give away. */
export function relayFolder(fetchCompute: ComputeFetch): FolderCarrier {
  const ask = async (
    record: SandboxRecord,
    method: string,
    path: string,
    env: MachineEnv,
    body?: string | ReadableStream<Uint8Array>,
  ) => {
    const url = `http://compute${PROVIDER_PATH}/sandboxes/${encodeURIComponent(record.sandboxId)}${TREE_PATH}${path}`;
    const init = { method, signal: env.signal, ...(body !== undefined && { body, duplex: "half" as const }) };
    const response = await fetchCompute(record.computeId, new Request(url, init));
    if (!response.ok) throw await failureOf(response);
    return response;
  };
  const at = (carry: string, rest = "") => `/incoming/${encodeURIComponent(carry)}${rest}`;

  return {
    async manifest(record, { leaveSecrets, skipIgnored }, env) {
      const query = `?leave_secrets=${leaveSecrets ? 1 : 0}&skip_ignored=${skipIgnored ? 1 : 0}`;
      return bodyOf(await ask(record, "GET", query, env));
    },
    async read(record, sha256, env) {
      return bodyOf(await ask(record, "POST", "/blobs", env, JSON.stringify({ sha256 })));
    },
    async expect(record, carry, { manifest, replaces }, env) {
      const query = replaces === undefined ? "" : `?replaces=${replaces}`;
      return answerOf(MissingBlobs, await ask(record, "PUT", at(carry, query), env, manifest));
    },
    async missing(record, carry, env) {
      return answerOf(MissingBlobs, await ask(record, "GET", at(carry), env));
    },
    async write(record, carry, pack, env) {
      return answerOf(WrittenBlobs, await ask(record, "PUT", at(carry, "/blobs"), env, pack));
    },
    async apply(record, carry, env) {
      return answerOf(AppliedTree, await ask(record, "POST", at(carry, "/apply"), env));
    },
    async discard(record, carry, env) {
      await (await ask(record, "DELETE", at(carry), env)).body?.cancel();
    },
  };
}

/** A relay that knows no such path says so with another word than one that knows no such sandbox. */
async function failureOf(response: Response): Promise<CerverError> {
  const body: unknown = await response.json().catch(() => undefined);
  const failure = CerverError.fromBody(response.status, body);
  const knowsNoTrees = response.status === 405 || (response.status === 404 && failure.code === "not_found");
  if (!knowsNoTrees) return failure;
  return new CerverError("unsupported", "The relay of this compute cannot carry a working folder.", {
    hint: "Update the relay on that machine, or move what is needed with runs, for example with git.",
  });
}

function bodyOf(response: Response): ReadableStream<Uint8Array> {
  if (response.body) return response.body;
  throw notUnderstood();
}

async function answerOf<S extends z.ZodType>(schema: S, response: Response): Promise<z.output<S>> {
  const answer = schema.safeParse(await response.json().catch(() => undefined));
  if (answer.success) return answer.data;
  throw notUnderstood();
}

function notUnderstood(): CerverError {
  return new CerverError("provider_failed", "The relay's answer about a folder is not understood.", {
    hint: "Update the relay on that machine, then try again.",
  });
}
