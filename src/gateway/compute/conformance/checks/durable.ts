import { newId } from "../../../../protocol/ids.js";
import type { KeptRun } from "../../../../protocol/sandbox.js";
import type { DurableRuns, SandboxRecord } from "../../contract.js";
import { type ConformanceCheck, same } from "../check.js";
import { type CheckContext, collect, heartbeatChild, okay, readAnswer, readEvents } from "../context.js";

/** Runs that outlive their request, where an adapter has them. */
export const DURABLE: readonly ConformanceCheck[] = [
  durable(
    "durable-start",
    "A run of its own is started once per id, found by it, and its end is waited for.",
    async (c, runs, record) => {
      const run_id = newRunId();
      const asked = {
        code: "echo x >> durable-start; sleep 1; echo kept; exit 5",
        runtime: "shell",
        run_id,
      } as const;
      const first = await runs.start(record, asked, c.env());
      const again = await runs.start(record, asked, c.env());
      same([first.run_id, again.run_id], [run_id, run_id], "The ids of a run that is sent twice");
      const ref = { computeId: record.computeId, runId: run_id };
      const answer = await readAnswer(await okay(await runs.answer(ref, c.env()), "durable.answer"));
      same(
        [answer.status, answer.exit_code, answer.stdout],
        ["failed", 5, "kept\n"],
        "status, exit_code and stdout",
      );
      same((await c.run("cat durable-start", { in: record })).stdout, "x\n", "How often it ran");
      const found = await runs.lookup([run_id, newRunId()], c.env());
      same(
        found.map(({ run_id: id, status, exit_code }: KeptRun) => [id, status, exit_code]),
        [[run_id, "failed", 5]],
        "What a lookup of it and of one that never was finds",
      );
    },
  ),
  durable(
    "durable-output",
    "A kept run's output is read and streamed from any byte.",
    async (c, runs, record) => {
      const run_id = newRunId();
      await runs.start(
        record,
        { code: "printf 0123456789; printf err >&2", runtime: "shell", run_id },
        c.env(),
      );
      const ref = { computeId: record.computeId, runId: run_id };
      await okay(await runs.answer(ref, c.env()), "durable.answer");
      const range = { stream: "stdout", from: 3, until: 7 } as const;
      const part = await okay(await runs.output(ref, range, c.env()), "durable.output");
      same(await part.text(), "3456", "The bytes from 3 until 7");
      const stream = await okay(await runs.stream(ref, { stdout: 0, stderr: 0 }, c.env()), "durable.stream");
      const { out, err, exit } = await collect(withStart(readEvents(stream), run_id));
      same(
        [`${out}`, `${err}`, exit.status],
        ["0123456789", "err", "succeeded"],
        "stdout, stderr and status",
      );
      const rest = await okay(await runs.stream(ref, { stdout: 8, stderr: 3 }, c.env()), "durable.stream");
      let text = "";
      for await (const event of readEvents(rest)) if (event.type === "stdout") text += event.data;
      same(text, "89", "The stream from byte 8 on");
    },
  ),
  durable("durable-stdin", "A kept run takes input until it is closed.", async (c, runs, record) => {
    const run_id = newRunId();
    await runs.start(record, { code: "cat", runtime: "shell", run_id, stdin_open: true }, c.env());
    const ref = { computeId: record.computeId, runId: run_id };
    const give = async (text: string, offset: number, close: boolean) =>
      okay(await runs.stdin(ref, { bytes: Buffer.from(text), offset, close }, c.env()), "durable.stdin");
    await give("one ", 0, false);
    await give("two", 4, true);
    const answer = await readAnswer(await okay(await runs.answer(ref, c.env()), "durable.answer"));
    same([answer.status, answer.stdout], ["succeeded", "one two"], "status and stdout");
  }),
  durable(
    "durable-cancel",
    "A kept run goes on when nobody listens, and cancelling it ends all of its processes.",
    async (c, runs, record) => {
      const run_id = newRunId();
      const code = `${heartbeatChild("durable.beat")}; sleep 600`;
      await runs.start(record, { code, runtime: "shell", run_id, timeout: 300 }, c.env());
      const size = async () => Number((await c.run("wc -c < durable.beat || echo 0", { in: record })).stdout);
      await c.until(async () => (await size()) > 3, 20, "The run did not go on by itself.");
      const ended = await runs.cancel({ computeId: record.computeId, runId: run_id }, c.env());
      same(ended.status, "cancelled", "The status of the cancelled run");
      await c.stopsGrowing("durable.beat", 15, "After the run was cancelled", record);
    },
  ),
];

function durable(
  name: string,
  about: string,
  run: (c: CheckContext, runs: DurableRuns, record: SandboxRecord) => Promise<void>,
): ConformanceCheck {
  return {
    name,
    about,
    run: async (c) => {
      const runs = c.adapter.durable;
      if (!runs) return c.skip("Its runs end with the request that started them.");
      await run(c, runs, await c.fresh());
    },
  };
}

/** A stream that is joined later begins without a start event; put before it, both read alike. */
async function* withStart(
  events: ReturnType<typeof readEvents>,
  run_id: string,
): ReturnType<typeof readEvents> {
  let first = true;
  for await (const event of events) {
    if (first && event.type !== "start") yield { type: "start", run_id, runtime: "shell" };
    first = false;
    yield event;
  }
}

function newRunId(): string {
  return newId("run");
}
