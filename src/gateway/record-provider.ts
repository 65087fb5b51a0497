import type { Env } from "../util/paths.js";
import { loadCassette } from "./compute/cassette.js";
import { type CassetteFigures, figuresOf } from "./compute/cassette-figures.js";
import { CassetteFile, headerNow } from "./compute/cassette-file.js";
import { openAdapter } from "./compute/open-adapter.js";
import { recorded } from "./compute/recorder.js";
import { Redactor, SHORTEST_SECRET } from "./compute/redactor.js";
import { type TourTarget, tour } from "./compute/tour.js";

export type { CassetteFigures, TimeFigures } from "./compute/cassette-figures.js";

/** Variables whose values are looked for in what a provider answers, beside the credentials. */
const LOOKS_SECRET = /TOKEN|SECRET|PASSW|KEY|CREDENTIAL|AUTH|COOKIE|DATABASE_URL|DSN/i;
/** Its value is the name of a place, not a credential. */
const NO_SECRET = new Set(["CERVER_CREDENTIALS"]);

export interface RecordOptions {
  out: string;
  runs: number;
  signal: AbortSignal;
  /** Hears of each round when it is over. */
  onRun?: (done: number) => void;
}

/** What was recorded, and what was kept out of it. */
export interface Recording {
  file: string;
  bytes: number;
  runs: number;
  figures: CassetteFigures;
  redaction: { values: number; masked: number; too_short: string[] };
  /** Calls that did not fit. */
  not_kept: number;
  left_behind: string[];
  interrupted?: true;
}

/**
 * Records rounds of a provider to a new file, with the credentials of the environment.
 *
 * Throws `invalid_request` when something is not set, and what the provider says when it gives no sandbox at all: then no
 * file is left.
 */
export async function recordProvider(
  name: string,
  variables: Env,
  { out, runs, signal, onRun }: RecordOptions,
): Promise<Recording> {
  const { target, close } = await openAdapter(name, variables);
  const secrets = secretsOf(variables, target.credentials);
  const redactor = new Redactor(secrets.values());
  let file: CassetteFile | undefined;
  try {
    file = new CassetteFile(out, headerNow(target.adapter.providerName));
    const adapter = recorded(target.adapter, file, { redactor });
    const left_behind: string[] = [];
    let done = 0;
    try {
      for (; done < runs; onRun?.(++done))
        await tour({ ...target, adapter }, { signal, onLeft: (sentence) => left_behind.push(sentence) });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    const figures = figuresOf(await loadCassette(out));
    if (figures.sandboxes === 0 && !signal.aborted) await sayWhyNone(target);
    file.close();
    return {
      file: out,
      bytes: file.bytes,
      runs: done,
      figures,
      redaction: {
        values: redactor.size,
        masked: redactor.masked,
        too_short: [...secrets]
          .filter(([, value]) => value.length < SHORTEST_SECRET)
          .map(([variable]) => variable),
      },
      not_kept: file.left,
      left_behind,
      ...(signal.aborted && { interrupted: true as const }),
    };
  } catch (error) {
    file?.discard();
    throw error;
  } finally {
    close();
  }
}

/** A provider that gave no sandbox at all is asked once more: what it says is the failure. */
async function sayWhyNone({ adapter, ...env }: TourTarget): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  const record = await adapter.createSandbox({ engine: "shell", metadata: {} }, { ...env, signal });
  await adapter.deleteSandbox(record, { ...env, signal });
}

/** The distributions on a cassette. Throws `invalid_request` when the file is none. */
export async function readRehearsal(path: string): Promise<CassetteFigures> {
  return figuresOf(await loadCassette(path));
}

/** Variable or credential → value, of all that may not be on a cassette. */
function secretsOf(variables: Env, credentials: Readonly<Record<string, string>>): Map<string, string> {
  const secrets = new Map(Object.entries(credentials));
  for (const [variable, value] of Object.entries(variables))
    if (value && LOOKS_SECRET.test(variable) && !NO_SECRET.has(variable)) secrets.set(variable, value);
  return secrets;
}
