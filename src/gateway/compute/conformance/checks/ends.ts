import { type ConformanceCheck, must, same } from "../check.js";
import { heartbeatChild } from "../context.js";

/** How runs end: by themselves, by a signal, by their time. */
export const ENDS: readonly ConformanceCheck[] = [
  {
    name: "exit-zero",
    about: "A command that ends well has exit code 0 and has succeeded.",
    async run(c) {
      const run = await c.run("echo fine");
      same(
        [run.success, run.status, run.exit_code, run.stdout, run.stderr, run.truncated],
        [true, "succeeded", 0, "fine\n", "", false],
        "success, status, exit_code, stdout, stderr and truncated",
      );
      must(Number.isFinite(run.duration_ms) && run.duration_ms >= 0, "duration_ms is no time.");
    },
  },
  {
    name: "exit-code",
    about: "Another exit code is an answer with that code, and has failed.",
    async run(c) {
      for (const code of [1, 3, 42, 255]) {
        const run = await c.run(`exit ${code}`);
        same(
          [run.success, run.status, run.exit_code],
          [false, "failed", code],
          "success, status and exit_code",
        );
      }
    },
  },
  {
    name: "exit-not-found",
    about: "A command that is not there gives 127, and what the shell says about it on stderr.",
    async run(c) {
      const run = await c.run("cerver-no-such-command");
      same([run.status, run.exit_code], ["failed", 127], "status and exit_code");
      must(run.err.includes("cerver-no-such-command"), "stderr does not name the command that is missing.");
    },
  },
  {
    name: "exit-signal",
    about: "A command that a signal ends gives 128 and the signal's number.",
    async run(c) {
      for (const [number, name] of [
        [9, "SIGKILL"],
        [15, "SIGTERM"],
      ] as const) {
        const run = await c.run(`kill -${number} $$; sleep 5`);
        same([run.status, run.exit_code], ["failed", 128 + number], "status and exit_code");
        must(run.signal == null || run.signal === name, `signal is ${run.signal} instead of ${name}.`);
      }
    },
  },
  {
    name: "exit-streamed",
    about: "The exit event of a stream tells the same end as an answer does.",
    async run(c) {
      const { exit, out } = await c.streamed("echo x; exit 7");
      same(
        [exit.status, exit.exit_code, out.toString()],
        ["failed", 7, "x\n"],
        "status, exit_code and stdout",
      );
      same((await c.streamed("true")).exit.status, "succeeded", "The status of a command that ends well");
      const killed = (await c.streamed("kill -9 $$; sleep 5")).exit;
      same([killed.status, killed.exit_code], ["failed", 137], "status and exit_code after SIGKILL");
    },
  },
  {
    name: "timeout",
    about:
      "A run that takes too long is timed_out with 124, keeps what it printed, and nothing of it lives on.",
    async run(c) {
      const code = `${heartbeatChild("timeout.beat")}; echo before; sleep 45; echo after`;
      const began = performance.now();
      const run = await c.run({ code, timeout: 2 });
      const took = performance.now() - began;
      same(
        [run.success, run.status, run.exit_code],
        [false, "timed_out", 124],
        "success, status and exit_code",
      );
      same(run.stdout, "before\n", "What was printed before the time was over");
      must(took < 20_000, `It took ${Math.round(took / 1000)} s to end a run whose time is 2 s.`);
      await c.stopsGrowing("timeout.beat", 10, "After the timeout");
    },
  },
  {
    name: "timeout-streamed",
    about: "A stream whose run takes too long ends with an exit event that says so.",
    async run(c) {
      const code = `${heartbeatChild("timeout-streamed.beat")}; echo before; sleep 45`;
      const { exit, out } = await c.streamed({ code, timeout: 2 });
      same([exit.status, exit.exit_code], ["timed_out", 124], "status and exit_code");
      same(out.toString(), "before\n", "What was printed before the time was over");
      await c.stopsGrowing("timeout-streamed.beat", 10, "After the timeout");
    },
  },
  {
    name: "timeout-not-yet",
    about: "A run that keeps its time is not ended by it.",
    async run(c) {
      const run = await c.run({ code: "sleep 1; echo done", timeout: 20 });
      same([run.status, run.stdout], ["succeeded", "done\n"], "status and stdout");
    },
  },
];
