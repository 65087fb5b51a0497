import { join } from "node:path";
import { z } from "zod";
import { Labels } from "../protocol/sessions.js";
import { parseJson } from "../util/parse-json.js";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";

const MAX_ERRORS = 20;
const MAX_WORDS = 500;

/** What a relay last knew of itself. It outlives the relay, so that what went wrong can be read afterwards. */
export const RelayRecord = z.looseObject({
  pid: z.number(),
  version: z.string(),
  started_at: z.string(),
  gateway_url: z.string(),
  compute_id: z.string().nullable(),
  name: z.string(),
  labels: Labels,
  max_runs: z.number(),
  service: z.string().nullable().describe("The service manager that started it."),
  link: z.looseObject({
    state: z.enum(["starting", "connecting", "connected", "waiting", "ended"]),
    since: z.string(),
  }),
  reconnects: z.number().describe("How often the link came back since this relay started."),
  errors: z
    .array(z.looseObject({ at: z.string(), what: z.string() }))
    .describe("The last ones, newest last."),
});
export type RelayRecord = z.infer<typeof RelayRecord>;

/** What a relay knows of itself when it starts. */
export type FirstRecord = Pick<
  RelayRecord,
  "pid" | "version" | "gateway_url" | "compute_id" | "name" | "labels" | "max_runs" | "service"
>;

const pathIn = (stateDir: string) => join(stateDir, "relay-status.json");

/** What the relay of a state folder last wrote; undefined when there is nothing that can be read. */
export async function readRelayRecord(stateDir: string): Promise<RelayRecord | undefined> {
  const record = RelayRecord.safeParse(parseJson((await readPrivateFile(pathIn(stateDir))) ?? ""));
  return record.success ? record.data : undefined;
}

/** Keeps a relay's record: a file for its owner alone, replaced as a whole when something changes. */
export class RecordKeeper {
  readonly #path: string;
  #record: RelayRecord;
  #wasConnected = false;
  #writing: Promise<void> | undefined;
  #isStale = false;

  private constructor(stateDir: string, first: FirstRecord, errors: RelayRecord["errors"]) {
    this.#path = pathIn(stateDir);
    const now = new Date().toISOString();
    const link = { state: "starting" as const, since: now };
    this.#record = { ...first, started_at: now, link, reconnects: 0, errors };
    this.#write();
  }

  /** Begins a record with the errors of the one before, and with how that one ended. */
  static async open(stateDir: string, first: FirstRecord): Promise<RecordKeeper> {
    const before = await readRelayRecord(stateDir).catch(() => undefined);
    const keeper = new RecordKeeper(stateDir, first, before?.errors ?? []);
    if (before && before.link.state !== "ended")
      keeper.error(`The relay before this one, process ${before.pid}, was killed or crashed.`);
    return keeper;
  }

  compute(computeId: string): void {
    this.#change({ compute_id: computeId });
  }

  link(state: RelayRecord["link"]["state"]): void {
    const back = state === "connected" && this.#wasConnected;
    this.#wasConnected ||= state === "connected";
    this.#change({
      link: { state, since: new Date().toISOString() },
      reconnects: this.#record.reconnects + (back ? 1 : 0),
    });
  }

  error(what: string): void {
    const entry = { at: new Date().toISOString(), what: what.slice(0, MAX_WORDS) };
    this.#change({ errors: [...this.#record.errors, entry].slice(-MAX_ERRORS) });
  }

  /** Writes the last state. */
  async close(): Promise<void> {
    this.link("ended");
    await this.#writing;
  }

  #change(what: Partial<RelayRecord>): void {
    this.#record = { ...this.#record, ...what };
    this.#write();
  }

  /** One write at a time, and one more for all that changed meanwhile. A disk that takes none stops no relay. */
  #write(): void {
    this.#isStale = true;
    this.#writing ??= (async () => {
      while (this.#isStale) {
        this.#isStale = false;
        await writePrivateFile(this.#path, `${JSON.stringify(this.#record, null, 2)}\n`).catch(() => {});
      }
      this.#writing = undefined;
    })();
  }
}
