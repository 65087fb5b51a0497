import { type ConformanceCheck, must } from "../check.js";
import { heartbeatChild } from "../context.js";

const FOREVER = "echo begun; sleep 600";

/** Who leaves ends the run, with all of its processes. */
export const CANCEL: readonly ConformanceCheck[] = [
  {
    name: "cancel-run",
    about: "A caller that leaves while it waits for an answer ends the run, children in new sessions too.",
    async run(c) {
      const leave = new AbortController();
      const code = `${heartbeatChild("cancel-run.beat")}; ${FOREVER}`;
      const answered = c.runRaw({ code, timeout: 300 }, { signal: leave.signal }).then(
        (response) => response.text(),
        () => "",
      );
      await c.until(
        async () => (await c.run("test -s cancel-run.beat && echo yes; true")).stdout === "yes\n",
        20,
        "The run did not begin while its answer was waited for.",
      );
      leave.abort(new Error("the caller left"));
      await settles(answered, 15, "The call did not end when its signal was aborted.");
      await c.stopsGrowing("cancel-run.beat", 15, "After the caller left");
    },
  },
  {
    name: "cancel-stream",
    about: "A caller that aborts while it reads a stream ends the run and the stream.",
    async run(c) {
      const leave = new AbortController();
      const code = `${heartbeatChild("cancel-stream.beat")}; ${FOREVER}`;
      const reading = (async () => {
        let begun = false;
        for await (const event of c.stream({ code, timeout: 300 }, { signal: leave.signal })) {
          if (event.type !== "stdout" || begun) continue;
          begun = true;
          leave.abort(new Error("the caller left"));
        }
      })().catch((error: unknown) => {
        // A stream whose caller has left may end as it likes.
        if (!leave.signal.aborted) throw error;
      });
      const begun = c.until(async () => leave.signal.aborted, 20, "No output of the run arrived.");
      await Promise.race([begun, reading]);
      must(leave.signal.aborted, "The stream ended before any output of the run arrived.");
      await settles(reading, 15, "The stream did not end when the call's signal was aborted.");
      await c.stopsGrowing("cancel-stream.beat", 15, "After the caller left");
    },
  },
  {
    name: "cancel-body",
    about: "A reader that cancels the body of a stream ends the run.",
    async run(c) {
      const code = `${heartbeatChild("cancel-body.beat")}; ${FOREVER}`;
      const events = c.stream({ code, timeout: 300 });
      let begun = false;
      while (!begun) {
        const { done, value } = await events.next();
        if (done) break;
        begun = value.type === "stdout";
      }
      // Leaving cancels the body. How long that takes is not what counts.
      void events.return(undefined).catch(() => {});
      must(begun, "No output of the run arrived.");
      await c.stopsGrowing("cancel-body.beat", 15, "After the reader left");
    },
  },
  {
    name: "cancel-stubborn",
    about: "A process that does not listen to TERM is ended all the same.",
    async run(c) {
      const leave = new AbortController();
      const code = `trap '' TERM HUP INT; while :; do printf . >> cancel-stubborn.beat; sleep 0.1; done`;
      const answered = c.runRaw({ code, timeout: 300 }, { signal: leave.signal }).catch(() => {});
      await c.until(
        async () => (await c.run("test -s cancel-stubborn.beat && echo yes; true")).stdout === "yes\n",
        20,
        "The run did not begin while its answer was waited for.",
      );
      leave.abort(new Error("the caller left"));
      await settles(answered, 15, "The call did not end when its signal was aborted.");
      await c.stopsGrowing("cancel-stubborn.beat", 15, "After the caller left");
    },
  },
  {
    name: "cancel-neighbours",
    about: "Cancelling one run leaves another run of the same sandbox alone.",
    async run(c) {
      const leave = new AbortController();
      const other = c.run({ code: "touch neighbour.begun; sleep 3; echo whole", timeout: 30 });
      other.catch(() => {});
      const cancelled = c
        .runRaw({ code: "touch neighbour.too; sleep 600", timeout: 300 }, { signal: leave.signal })
        .catch(() => {});
      await c.until(
        async () =>
          (await c.run("test -e neighbour.begun && test -e neighbour.too && echo yes; true")).stdout ===
          "yes\n",
        20,
        "Two runs of one sandbox did not begin beside each other.",
      );
      leave.abort(new Error("the caller left"));
      await settles(cancelled, 15, "The call did not end when its signal was aborted.");
      const { status, stdout } = await other;
      must(
        status === "succeeded" && stdout === "whole\n",
        `The other run ${status}, and printed “${stdout}”.`,
      );
    },
  },
];

async function settles(promise: Promise<unknown>, seconds: number, sentence: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), seconds * 1000);
  });
  const first = await Promise.race([promise.then(() => "settled"), late]);
  clearTimeout(timer);
  must(first !== "late", sentence);
}
