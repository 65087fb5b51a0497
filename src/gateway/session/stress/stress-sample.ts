import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import type { ProviderName } from "../../../protocol/providers.js";
import { RunEvent } from "../../../protocol/runs.js";
import type { CreateSessionRequest } from "../../../protocol/sessions.js";
import type { StressPattern, StressSample, StressTestRequest } from "../../../protocol/stress-tests.js";
import type { ProviderRegistry } from "../../compute/registry.js";
import type { Costs } from "../costs.js";
import type { Orphans } from "../orphans.js";
import type { Provisioned, Provisioning } from "../provisioning.js";
import { GENERAL } from "../routing/measurements.js";
import type { RoutingMemory } from "../routing/routing-memory.js";
import { failureOf } from "../runs/run-failures.js";
import type { SandboxPlace, SessionSandboxes } from "../session-sandbox.js";

/** The longest that a sample may take, as computesdk's method has it, and that its sandbox may live. */
const SAMPLE_TIMEOUT_MS = 120_000;
export const SAMPLE_MINUTES = 2;
/** How often a command is run in a sandbox that is there already. */
const COMMANDS = 3;
const COMMAND_TIMEOUT_S = 30;
/** How long the end of a sandbox is waited for, and looked for. */
const CLEAN_UP_MS = 15_000;

export interface StressSampleDeps {
  provisioning: Provisioning;
  providers: ProviderRegistry;
  sandboxes: SessionSandboxes;
  costs: Costs;
  orphans: Orphans;
  memory: RoutingMemory;
  now: () => number;
}

export interface SampleOrder {
  accountId: string;
  stressTestId: string;
  provider: string;
  pattern: StressPattern;
  index: number;
  request: StressTestRequest;
  signal: AbortSignal;
}

/** What a sample showed, and which sandboxes it made or may have made, and whether they were shown to be gone. */
export interface Sampled {
  sample: StressSample;
  sandboxes: { id: string; gone: boolean }[];
}

/** Makes a sandbox, runs a first command and some more in it, and deletes it again, whatever happens. Never rejects. */
export async function takeSample(deps: StressSampleDeps, order: SampleOrder): Promise<Sampled> {
  const { accountId, provider, pattern, index, request } = order;
  const signal = AbortSignal.any([order.signal, AbortSignal.timeout(SAMPLE_TIMEOUT_MS)]);
  const sessionId = newId("sess", deps.now());
  const about = { provider, pattern, index };
  const began = performance.now();
  let made: Provisioned | undefined;
  let sample: StressSample;
  try {
    made = await deps.provisioning.provision({
      accountId,
      sessionId,
      request: wanted(request, provider),
      metadata: { cerver_stress_test: order.stressTestId },
      signal,
    });
    const create_ms = since(began);
    const place = placeOf(accountId, sessionId, made);
    const first = await firstCommand(deps, place, request, signal);
    const tti_ms = since(began);
    const exec_ms: number[] = [];
    for (let turn = 0; turn < COMMANDS; turn++) exec_ms.push(await command(deps, place, signal));
    sample = { ...about, ok: true, create_ms, tti_ms, ...first, exec_ms };
    await learn(deps, order, made, sample);
  } catch (error) {
    const known = error instanceof CerverError ? error : undefined;
    sample = {
      ...about,
      ok: false,
      code: known?.code ?? (signal.aborted ? "timed_out" : "internal"),
      error: known?.message ?? (error instanceof Error ? error.message : String(error)),
    };
  }
  const sandboxes: Sampled["sandboxes"] = [];
  if (made) {
    sample = { ...sample, cost_usd: deps.costs.priceOf(provider, since(began) / 1000) };
    const place = placeOf(accountId, sessionId, made);
    await deps.sandboxes.end(place);
    await deps.costs.ended(sessionId);
    sandboxes.push({ id: made.sandboxId, gone: await isGone(deps, place).catch(() => false) });
  }
  for (const { sandbox_id, provider: where } of await deps.orphans.leftOf(sessionId))
    if (sandbox_id === null || sandbox_id !== made?.sandboxId)
      sandboxes.push({ id: sandbox_id ?? `one of ${sessionId} at ${where}`, gone: false });
  return { sample, sandboxes };
}

/** What a sample asks for: this provider and no other, for a short while. */
function wanted(
  { workload, requirements, policy }: StressTestRequest,
  provider: string,
): CreateSessionRequest {
  const { pinned_provider: _, allowed_providers: __, canary: ___, ...rest } = policy ?? {};
  return {
    workload,
    requirements: { ...requirements, timeout_minutes: SAMPLE_MINUTES },
    policy: { ...rest, mode: "balanced" },
    compute: { provider },
  };
}

/** The first command, streamed, so that its first byte shows. */
async function firstCommand(
  deps: StressSampleDeps,
  place: SandboxPlace,
  { requirements }: StressTestRequest,
  signal: AbortSignal,
): Promise<{ first_byte_ms?: number }> {
  const { adapter, record, env } = deps.sandboxes.reach(place, signal)!;
  const began = performance.now();
  let firstByteMs: number | undefined;
  // As computesdk's method has it, where Node was asked for.
  const code = requirements?.runtime === "node" ? "node -v" : "echo ready";
  const response = await adapter.runSandboxStream(record, order(code), env);
  if (!response.ok || !response.body) throw await failureOf(response);
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    const frames = text.split("\n\n");
    text = frames.pop()!;
    for (const frame of frames) {
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (data === undefined) continue;
      const event = RunEvent.parse(JSON.parse(data));
      if (event.type === "stdout") firstByteMs ??= since(began);
      if (event.type === "error") throw new CerverError("compute_lost", event.error);
      if (event.type !== "exit") continue;
      if (event.exit_code === 0) return firstByteMs === undefined ? {} : { first_byte_ms: firstByteMs };
      throw new CerverError(
        "provider_failed",
        `The command \`${code}\` ended with exit code ${event.exit_code}.`,
      );
    }
  }
  throw new CerverError("compute_lost", "The stream of the first command ended before the command did.");
}

async function command(deps: StressSampleDeps, place: SandboxPlace, signal: AbortSignal): Promise<number> {
  const { adapter, record, env } = deps.sandboxes.reach(place, signal)!;
  const began = performance.now();
  const response = await adapter.runSandbox(record, order("true"), env);
  if (!response.ok) throw await failureOf(response);
  await response.arrayBuffer();
  return since(began);
}

function order(code: string) {
  return { code, runtime: "shell" as const, timeout: COMMAND_TIMEOUT_S, run_id: newId("run") };
}

/** Asks the provider itself whether a sandbox is gone. */
async function isGone({ sandboxes }: StressSampleDeps, place: SandboxPlace): Promise<boolean> {
  const { adapter, record, env } = sandboxes.reach(place, AbortSignal.timeout(CLEAN_UP_MS))!;
  if (adapter.cloud) {
    const found = await adapter.cloud.find(place.id, env);
    return !found.some(({ sandboxId }) => sandboxId === place.sandbox_id);
  }
  try {
    const state = await adapter.getState(record, env);
    await state.body?.cancel();
    return state.status === 404;
  } catch (error) {
    return error instanceof CerverError && error.code === "sandbox_not_found";
  }
}

async function learn(
  { memory, now }: StressSampleDeps,
  { accountId, provider, request }: SampleOrder,
  made: Provisioned,
  { exec_ms = [], first_byte_ms }: StressSample,
): Promise<void> {
  const about = { candidate: made.computeId, provider, workload: request.workload || GENERAL, at: now() };
  for (const execMs of exec_ms) await memory.observed(accountId, { ...about, execMs });
  if (first_byte_ms !== undefined) await memory.observed(accountId, { ...about, firstByteMs: first_byte_ms });
}

function placeOf(accountId: string, sessionId: string, made: Provisioned): SandboxPlace {
  return {
    account_id: accountId,
    id: sessionId,
    provider: made.provider as ProviderName,
    compute_id: made.computeId,
    sandbox_id: made.sandboxId,
  };
}

function since(began: number): number {
  return Math.round((performance.now() - began) * 100) / 100;
}
