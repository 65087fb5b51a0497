import { MAX_INLINE_OUTPUT_BYTES } from "../../../../protocol/run-limits.js";
import { type ConformanceCheck, must, same, sameBytes } from "../check.js";

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);
/** A command that prints every byte value once, in order. */
const PRINT_ALL_BYTES = `printf '%b' '${[...ALL_BYTES].map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("")}'`;

const SEQ_END = 1_400_000;
/** What `seq 1 N` prints: more than 10 MB, and no two places in it are alike. */
function seqText(): Buffer {
  let text = "";
  for (let i = 1; i <= SEQ_END; i++) text += `${i}\n`;
  return Buffer.from(text);
}

/** What runs print: apart, exact, live, and bounded. */
export const OUTPUT: readonly ConformanceCheck[] = [
  {
    name: "output-apart",
    about: "stdout and stderr come apart, in answers and in streams.",
    async run(c) {
      const code = "echo out1; echo err1 >&2; echo out2; echo err2 >&2";
      const run = await c.run(code);
      same([run.stdout, run.stderr], ["out1\nout2\n", "err1\nerr2\n"], "stdout and stderr of the answer");
      same([run.stdout_bytes, run.stderr_bytes], [10, 10], "stdout_bytes and stderr_bytes");
      const { out, err } = await c.streamed(code);
      same([`${out}`, `${err}`], ["out1\nout2\n", "err1\nerr2\n"], "stdout and stderr of the stream");
    },
  },
  {
    name: "output-none",
    about: "A silent command has empty output, and its stream only a beginning and an end.",
    async run(c) {
      const run = await c.run("true");
      same([run.stdout, run.stderr, run.stdout_bytes, run.stderr_bytes], ["", "", 0, 0], "The output");
      const { events } = await c.streamed("true");
      same(
        events.map(({ type }) => type),
        ["start", "exit"],
        "The events",
      );
    },
  },
  {
    name: "stream-live",
    about: "Events arrive while the command runs, not at its end.",
    async run(c) {
      // The command waits for a file that is only written once its first output has arrived here.
      const code = "echo ready; while [ ! -e stream-live.go ]; do sleep 0.05; done; echo went";
      let out = "";
      let told = false;
      for await (const event of c.stream({ code, timeout: 10 })) {
        if (event.type === "stdout") out += event.data;
        if (!told && out.includes("ready\n")) {
          told = true;
          await c.write("stream-live.go", "go");
        }
        if (event.type !== "exit") continue;
        must(
          event.status !== "timed_out",
          "No output arrived here while the command waited for it: the stream came at the end.",
        );
        same(event.status, "succeeded", "The status");
      }
      same(out, "ready\nwent\n", "stdout");
    },
  },
  {
    name: "stream-start",
    about: "The start event comes when the run begins, also when nothing is printed.",
    async run(c) {
      const code = "while [ ! -e stream-start.go ]; do sleep 0.05; done";
      for await (const event of c.stream({ code, timeout: 10, run_id: "run_conformance" })) {
        if (event.type === "start") {
          same(event.run_id, "run_conformance", "The run's id in the start event");
          await c.write("stream-start.go", "go");
        }
        if (event.type !== "exit") continue;
        same(event.run_id, "run_conformance", "The run's id in the exit event");
        must(event.status !== "timed_out", "The start event came at the end of the run only.");
      }
    },
  },
  {
    name: "output-binary",
    about: "All 256 byte values come back exactly, through answers and streams, on both outputs.",
    async run(c) {
      const code = `${PRINT_ALL_BYTES}; ${PRINT_ALL_BYTES} >&2`;
      const run = await c.run(code);
      sameBytes(run.out, ALL_BYTES, "stdout of the answer");
      sameBytes(run.err, ALL_BYTES, "stderr of the answer");
      same([run.stdout_bytes, run.stderr_bytes], [256, 256], "stdout_bytes and stderr_bytes");
      const { out, err } = await c.streamed(code);
      sameBytes(out, ALL_BYTES, "stdout of the stream");
      sameBytes(err, ALL_BYTES, "stderr of the stream");
    },
  },
  {
    name: "output-split-utf8",
    about:
      "A character that is printed in two halves stays whole, and bytes that are no UTF-8 stay themselves.",
    async run(c) {
      const code =
        "printf '\\303'; sleep 0.4; printf '\\251'; sleep 0.4; printf '\\377\\303'; sleep 0.4; printf 'x\\360\\237'";
      const expected = Buffer.from([0xc3, 0xa9, 0xff, 0xc3, 0x78, 0xf0, 0x9f]);
      sameBytes((await c.run(code)).out, expected, "stdout of the answer");
      sameBytes((await c.streamed(code)).out, expected, "stdout of the stream");
      const text = "printf '\\360\\237'; sleep 0.4; printf '\\230\\200'";
      const answer = await c.run(text);
      same([answer.stdout, answer.stdout_encoding], ["😀", undefined], "stdout and stdout_encoding of text");
      const { events } = await c.streamed(text);
      const pieces = events.flatMap((event) => (event.type === "stdout" ? [event] : []));
      same(pieces.map(({ data }) => data).join(""), "😀", "The text in the stream");
    },
  },
  {
    name: "output-no-newline",
    about: "Output is not touched: no newline is added or taken, no carriage return, no space at an end.",
    async run(c) {
      const run = await c.run("printf '  a\\r\\n\\n b \\t'; printf '\\n\\nend ' >&2");
      same([run.stdout, run.stderr], ["  a\r\n\n b \t", "\n\nend "], "stdout and stderr");
    },
  },
  {
    name: "output-10-mb",
    about: "Of more than 10 MB an answer has the true count, both ends, and says that it is cut.",
    seconds: 180,
    async run(c) {
      const all = seqText();
      const run = await c.run({ code: `echo FIRST; seq 1 ${SEQ_END}; echo LAST`, timeout: 120 });
      same(
        [run.status, run.stdout_bytes, run.truncated],
        ["succeeded", all.length + 11, true],
        "status, stdout_bytes and truncated",
      );
      must(run.out.subarray(0, 20).toString().startsWith("FIRST\n1\n2\n3\n"), "The head is not kept.");
      must(run.out.subarray(-30).toString().endsWith(`\n${SEQ_END}\nLAST\n`), "The tail is not kept.");
      must(
        run.out.length <= MAX_INLINE_OUTPUT_BYTES + 1024,
        `The answer holds ${run.out.length} bytes, more than the ${MAX_INLINE_OUTPUT_BYTES} it may.`,
      );
      must(run.out.length >= 1024, "Hardly anything is kept.");
    },
  },
  {
    name: "stream-10-mb",
    about: "More than 10 MB stream without a byte lost, twice or out of place.",
    seconds: 180,
    async run(c) {
      const { out, exit } = await c.streamed({ code: `seq 1 ${SEQ_END}`, timeout: 120 });
      same(exit.status, "succeeded", "The status");
      sameBytes(out, seqText(), "stdout of the stream");
    },
  },
  {
    name: "stream-slow-reader",
    about: "A reader that takes its time gets everything.",
    seconds: 120,
    async run(c) {
      const code = "seq 1 200000";
      let bytes = 0;
      let events = 0;
      for await (const event of c.stream({ code, timeout: 60 })) {
        if (event.type === "stdout") bytes += Buffer.byteLength(event.data, event.encoding ?? "utf8");
        if (event.type === "gap") must(false, "The stream left something out.");
        if (events++ < 20) await new Promise((resolve) => setTimeout(resolve, 50));
        if (event.type === "exit") same(event.stdout_bytes, bytes, "stdout_bytes of the exit event");
      }
      same(bytes, 1_288_895, "The bytes that arrived");
    },
  },
];
