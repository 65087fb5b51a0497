import type { CassetteOutcome } from "../../protocol/cassette.js";
import { RunEvent } from "../../protocol/runs.js";
import { SandboxRunAnswer } from "../../protocol/sandbox.js";
import { parseJson } from "../../util/parse-json.js";
import type { VendorEnd } from "./vendor-run.js";

/** What a run printed, and how it ended, however it was asked for. */
export interface RecordedRun {
  output: ["stdout" | "stderr", Buffer][];
  end: VendorEnd;
}

/** Reads a run off an answer or a stream that was recorded; undefined when neither says how it ended. */
export function recordedRun(outcome: CassetteOutcome): RecordedRun | undefined {
  if (outcome.kind === "answer") return ofAnswer(outcome.body);
  if (outcome.kind === "stream") return ofStream(outcome.chunks.map(({ text = "" }) => text).join(""));
  return undefined;
}

function ofAnswer(body: string): RecordedRun | undefined {
  const { data } = SandboxRunAnswer.safeParse(parseJson(body));
  if (!data || data.exit_code === null) return undefined;
  return {
    output: [
      ["stdout", Buffer.from(data.stdout, data.stdout_encoding ?? "utf8")],
      ["stderr", Buffer.from(data.stderr, data.stderr_encoding ?? "utf8")],
    ],
    end: { exitCode: data.exit_code, ...(data.signal && { signal: data.signal }) },
  };
}

function ofStream(text: string): RecordedRun | undefined {
  const output: RecordedRun["output"] = [];
  for (const [, line] of text.matchAll(/^data: (.*)$/gm)) {
    const { data: event } = RunEvent.safeParse(parseJson(line!));
    if (event?.type === "stdout" || event?.type === "stderr")
      output.push([event.type, Buffer.from(event.data, event.encoding ?? "utf8")]);
    if (event?.type === "exit" && event.exit_code !== null)
      return { output, end: { exitCode: event.exit_code, ...(event.signal && { signal: event.signal }) } };
  }
  return undefined;
}
