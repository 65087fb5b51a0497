import { setTimeout as sleep } from "node:timers/promises";
import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import { canonicalProvider } from "../../../protocol/providers.js";
import type {
  StressEvent,
  StressPattern,
  StressReport,
  StressSample,
  StressTestList,
  StressTestRequest,
} from "../../../protocol/stress-tests.js";
import type { Logger } from "../../../util/logger.js";
import type { ProviderProfile } from "../../compute/profile.js";
import type { Database } from "../../store/schema.js";
import { GENERAL } from "../routing/measurements.js";
import type { Candidate } from "../routing/router.js";
import { type Contestant, rank } from "./stress-report.js";
import { SAMPLE_MINUTES, type Sampled, type StressSampleDeps, takeSample } from "./stress-sample.js";
import { madeOf, type Simulated, simulate } from "./stress-simulated.js";

/** Between two creates of the staggered pattern, as computesdk's method has it. */
const STAGGER_MS = 200;
/** Live tests of one account at once. */
const MAX_RUNNING = 2;
/** What keeps a provider from being compared at all, live and simulated. */
const CANNOT = [
  "runtime",
  "package_install",
  "public_preview",
  "persistence_level",
  "desktop",
  "browser",
  "region",
  "labels",
  "timeout_minutes",
] as const;

export interface StressTestsDeps extends StressSampleDeps {
  db: Database;
  catalog: readonly ProviderProfile[];
  logger: Logger;
}

interface Running {
  accountId: string;
  abort: AbortController;
  listeners: Set<(event: StressEvent) => void>;
  /** What was told last, for who listens late. */
  last: StressEvent | undefined;
  ended: Promise<StressReport>;
}

/** Compares providers before real work goes there: by what is known of them, or by real sandboxes. */
export class StressTests {
  readonly #deps: StressTestsDeps;
  readonly #running = new Map<string, Running>();

  constructor(deps: StressTestsDeps) {
    this.#deps = deps;
  }

  /** Tests that an earlier process was in the middle of are over. To be called once, at start. */
  async endAbandoned(): Promise<void> {
    const { db, now } = this.#deps;
    await db
      .updateTable("stress_tests")
      .set({ status: "failed", ended_at: now() })
      .where("status", "=", "running")
      .execute();
  }

  /** Begins a test. A simulated one is done when this resolves; a live one goes on, and its report says `running`. */
  async begin(accountId: string, request: StressTestRequest): Promise<StressReport> {
    const { db, now } = this.#deps;
    const contestants = await this.#contestants(accountId, request);
    const id = newId("stress", now());
    const blank: StressReport = {
      stress_test_id: id,
      mode: request.mode,
      status: "running",
      kind: request.kind ?? null,
      task: request.task ?? null,
      workload: request.workload || GENERAL,
      created_at: new Date(now()).toISOString(),
      ended_at: null,
      seed: null,
      made_of: [],
      ...rank(contestants, []),
      clean_up: { made: 0, deleted: 0, left: [] },
      samples: [],
    };
    if (request.mode === "live") this.#refuseTooMany(accountId);
    const inserted = db
      .insertInto("stress_tests")
      .values({
        id,
        account_id: accountId,
        status: "running",
        request_json: JSON.stringify(request),
        report_json: JSON.stringify(blank),
        created_at: now(),
        ended_at: null,
      })
      .execute();
    // A live one counts from here on: others that begin meanwhile see it.
    if (request.mode === "live") this.#live(accountId, blank, contestants, request, inserted);
    await inserted;
    return request.mode === "live" ? blank : this.#simulated(blank, contestants, request);
  }

  /** Waits for the end of a live test; of one that has ended this is its report. */
  async ended(accountId: string, id: string): Promise<StressReport> {
    const running = this.#running.get(id);
    return running?.accountId === accountId ? running.ended : this.get(accountId, id);
  }

  /** The report as it is now. */
  async get(accountId: string, id: string): Promise<StressReport> {
    const row = await this.#deps.db
      .selectFrom("stress_tests")
      .selectAll()
      .where("id", "=", id)
      .where("account_id", "=", accountId)
      .executeTakeFirst();
    if (row?.report_json)
      return { ...(JSON.parse(row.report_json) as StressReport), status: row.status as "done" };
    throw new CerverError("not_found", `This account has no stress test ${id}.`, {
      hint: "List those it has with GET /v2/stress-tests.",
    });
  }

  async list(accountId: string): Promise<StressTestList> {
    const rows = await this.#deps.db
      .selectFrom("stress_tests")
      .select(["report_json", "status"])
      .where("account_id", "=", accountId)
      .orderBy("created_at", "desc")
      .limit(100)
      .execute();
    return {
      stress_tests: rows.map(({ report_json, status }) => {
        const report = JSON.parse(report_json!) as StressReport;
        const { stress_test_id, mode, kind, created_at, ended_at, recommended_provider, cost_usd } = report;
        const about = { stress_test_id, mode, kind, created_at, ended_at, recommended_provider, cost_usd };
        return { ...about, status: status as StressReport["status"] };
      }),
    };
  }

  /** Hears of a live test until the returned function is called; the last event is its report. */
  async listen(accountId: string, id: string, listener: (event: StressEvent) => void): Promise<() => void> {
    const running = this.#running.get(id);
    if (running?.accountId !== accountId) {
      listener({ type: "report", report: await this.get(accountId, id) });
      return () => {};
    }
    if (running.last) listener(running.last);
    running.listeners.add(listener);
    return () => running.listeners.delete(listener);
  }

  /** Ends a live test: nothing more is begun, what is there is deleted. Resolves with its report. */
  async cancel(accountId: string, id: string): Promise<StressReport> {
    const running = this.#running.get(id);
    if (running?.accountId !== accountId) return this.get(accountId, id);
    running.abort.abort(new CerverError("conflict", "The stress test was cancelled."));
    return running.ended;
  }

  /** Ends all live tests, and waits until their sandboxes are gone. */
  async stop(): Promise<void> {
    for (const { abort } of this.#running.values())
      abort.abort(new CerverError("conflict", "The gateway stops, so the stress test was cancelled."));
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  async #simulated(
    blank: StressReport,
    contestants: readonly (Contestant & { estimates: Candidate["estimates"] })[],
    request: StressTestRequest,
  ): Promise<StressReport> {
    const seed = request.seed ?? Math.floor(Math.random() * 0xffffffff);
    const known: Simulated[] = contestants.filter(({ skipped }) => skipped === undefined);
    const samples = simulate(known, request.sample_size, seed);
    const told = contestants.map((one) => {
      if (one.skipped !== undefined || one.estimates.startup) return one;
      return { ...one, skipped: "No figure of its startup is known" };
    });
    return this.#store({
      ...blank,
      ...rank(told, samples),
      seed,
      made_of: madeOf(known, request.sample_size, seed),
      samples,
      status: "done",
      ended_at: new Date(this.#deps.now()).toISOString(),
    });
  }

  #live(
    accountId: string,
    blank: StressReport,
    contestants: readonly Contestant[],
    request: StressTestRequest,
    inserted: Promise<unknown>,
  ): void {
    const running: Running = {
      accountId,
      abort: new AbortController(),
      listeners: new Set(),
      last: undefined,
      ended: Promise.resolve(blank),
    };
    const tell = (event: StressEvent) => {
      running.last = event;
      for (const listener of running.listeners) listener(event);
    };
    running.ended = inserted
      .then(() => this.#sampleAll(accountId, blank, contestants, request, running.abort.signal, tell))
      .catch(async (error: unknown) => {
        this.#deps.logger.error({ err: error, stress_test_id: blank.stress_test_id }, "a stress test failed");
        return this.#store({
          ...blank,
          status: "failed",
          ended_at: new Date(this.#deps.now()).toISOString(),
        });
      })
      .then((report) => {
        this.#running.delete(blank.stress_test_id);
        tell({ type: "report", report });
        return report;
      });
    this.#running.set(blank.stress_test_id, running);
  }

  async #sampleAll(
    accountId: string,
    blank: StressReport,
    contestants: readonly Contestant[],
    request: StressTestRequest,
    signal: AbortSignal,
    tell: (event: StressEvent) => void,
  ): Promise<StressReport> {
    const { sample_size, patterns, concurrency, max_cost_usd } = request;
    const able = contestants.filter(({ skipped }) => skipped === undefined);
    const total = able.length * patterns.length * sample_size;
    const taken: Sampled[] = [];
    const capped = new Set<string>();
    let reservedUsd = 0;
    const spentUsd = () => taken.reduce((sum, { sample }) => sum + (sample.cost_usd ?? 0), 0);
    const progress = (sample?: StressSample) =>
      tell({
        type: "progress",
        stress_test_id: blank.stress_test_id,
        done: taken.length,
        total,
        cost_usd: spentUsd(),
        ...(sample && { sample }),
      });
    const slots = new Slots(concurrency);
    const one = async (provider: string, pattern: StressPattern, index: number) => {
      await slots.take();
      const mostUsd = this.#deps.costs.priceOf(provider, SAMPLE_MINUTES * 60);
      try {
        if (signal.aborted) return;
        // Looked at before each one: what is under way may cost its most.
        if (spentUsd() + reservedUsd + mostUsd > max_cost_usd && mostUsd > 0)
          return void capped.add(provider);
        reservedUsd += mostUsd;
        const sampled = await takeSample(this.#deps, {
          accountId,
          stressTestId: blank.stress_test_id,
          provider,
          pattern,
          index,
          request,
          signal,
        });
        reservedUsd -= mostUsd;
        taken.push(sampled);
        progress(sampled.sample);
      } finally {
        slots.give();
      }
    };
    progress();
    for (const { provider } of able) {
      for (const pattern of patterns) {
        const indexes = Array.from({ length: sample_size }, (_, index) => index);
        if (pattern === "sequential") for (const index of indexes) await one(provider, pattern, index);
        else {
          await Promise.all(
            indexes.map(async (index) => {
              if (pattern === "staggered")
                await sleep(index * STAGGER_MS, undefined, { signal }).catch(() => {});
              await one(provider, pattern, index);
            }),
          );
        }
      }
    }
    const samples = taken.map(({ sample }) => sample);
    const sandboxes = taken.flatMap((one) => one.sandboxes);
    const left = sandboxes.filter(({ gone }) => !gone).map(({ id }) => id);
    const told = contestants.map((one) =>
      capped.has(one.provider) && !samples.some(({ provider }) => provider === one.provider)
        ? { ...one, skipped: `One sample of it could cost more than what is left of $${max_cost_usd}` }
        : one,
    );
    return this.#store({
      ...blank,
      ...rank(told, samples),
      made_of: liveMadeOf(request, able, capped),
      samples,
      clean_up: { made: sandboxes.length, deleted: sandboxes.length - left.length, left },
      status: signal.aborted ? "cancelled" : "done",
      ended_at: new Date(this.#deps.now()).toISOString(),
    });
  }

  /** Who takes part: those that were asked for, by what the router says of each. */
  async #contestants(
    accountId: string,
    { workload, requirements, policy, providers, mode }: StressTestRequest,
  ): Promise<(Contestant & { estimates: Candidate["estimates"] })[]> {
    const { provisioning, catalog } = this.#deps;
    const { pinned_provider: _, allowed_providers: __, canary: ___, ...rest } = policy ?? {};
    const named = providers?.map((name) => this.#known(name));
    const { candidates } = await provisioning.recommend(accountId, {
      workload,
      requirements,
      policy: { ...rest, mode: "balanced", ...(named && { allowed_providers: named }) },
    });
    // A rehearsal takes part when it is named, or where nothing is real.
    const asked =
      named ??
      catalog
        .filter(
          ({ kind, provider }) => kind !== "rehearsal" || candidates.some((one) => one.provider === provider),
        )
        .map(({ provider }) => provider as string);
    return [...new Set(asked)].flatMap((provider) => {
      const of = candidates.filter((candidate) => candidate.provider === provider);
      const best = of.find(({ executable }) => executable) ?? of[0];
      if (!best) {
        const label = catalog.find((profile) => profile.provider === provider)!.label;
        const nothing = {
          startup: null,
          exec: null,
          success: { share: 0, n: 0, source: "nothing" },
          cost: null,
        };
        return [
          {
            provider,
            label,
            executable: false,
            skipped: "No machine of this account is attached",
            estimates: nothing,
          },
        ];
      }
      const cannot = best.refusals.find(({ code }) => (CANNOT as readonly string[]).includes(code));
      const reason =
        cannot?.reason ?? (mode === "live" && !best.executable ? best.refusals[0]?.reason : undefined);
      const label =
        provider === "p69" ? catalog.find((profile) => profile.provider === "p69")!.label : best.label;
      return [
        {
          provider,
          label,
          executable: best.executable,
          ...(reason !== undefined && { skipped: reason }),
          estimates: best.estimates,
        },
      ];
    });
  }

  #known(name: string): string {
    const provider = canonicalProvider(name);
    if (this.#deps.catalog.some((profile) => profile.provider === provider)) return provider;
    throw new CerverError("invalid_request", `providers: there is no provider called "${name}".`, {
      hint: `Known providers: ${this.#deps.catalog.map((profile) => profile.provider).join(", ")}.`,
    });
  }

  #refuseTooMany(accountId: string): void {
    const running = [...this.#running.values()].filter((one) => one.accountId === accountId).length;
    if (running < MAX_RUNNING) return;
    throw new CerverError("too_many_requests", `This account has ${running} live stress tests under way.`, {
      hint: "Wait until one has ended, or cancel it: DELETE /v2/stress-tests/STRESS_TEST_ID.",
      details: { retry_after_ms: 10_000 },
    });
  }

  async #store(report: StressReport): Promise<StressReport> {
    await this.#deps.db
      .updateTable("stress_tests")
      .set({ status: report.status, report_json: JSON.stringify(report), ended_at: this.#deps.now() })
      .where("id", "=", report.stress_test_id)
      .execute();
    return report;
  }
}

function liveMadeOf(
  { sample_size, patterns, concurrency, requirements }: StressTestRequest,
  able: readonly Contestant[],
  capped: ReadonlySet<string>,
): string[] {
  const command = requirements?.runtime === "node" ? "node -v" : "echo ready";
  return [
    `Live: real sandboxes, ${sample_size} for each provider and pattern (${patterns.join(", ")}), at most ${concurrency} at once.`,
    `Interactive is when \`${command}\` has ended in a new sandbox; then \`true\` runs three times.`,
    ...able
      .filter(({ provider }) => capped.has(provider))
      .map(({ label }) => `${label}: stopped early, at the cost cap.`),
  ];
}

/** So many at once, the others wait in line. */
class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  take(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
