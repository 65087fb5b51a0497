import { setTimeout as sleep } from "node:timers/promises";
import { type ConformanceCheck, must, same } from "../check.js";
import { readAnswer } from "../context.js";

/** Sandboxes: apart, deleted, and many runs in one. */
export const SANDBOXES: readonly ConformanceCheck[] = [
  {
    name: "sandbox-record",
    about: "Creating a sandbox gives its id, its compute and its provider.",
    async run(c) {
      const record = await c.fresh();
      must(typeof record.sandboxId === "string" && record.sandboxId !== "", "The record has no sandboxId.");
      same(record.provider, c.adapter.providerName, "The record's provider");
      must(typeof record.computeId === "string", "The record has no computeId.");
      same((await c.run("ls -A", { in: record })).stdout, "", "What is in a new sandbox's folder");
    },
  },
  {
    name: "sandbox-env",
    about: "metadata.env of the create call is the environment of every run, and envs of a run win over it.",
    async run(c) {
      const record = await c.fresh({ env: { FROM_CREATE: "it's here", BOTH: "create" } });
      const code = 'echo "$FROM_CREATE $BOTH"';
      same((await c.run(code, { in: record })).stdout, "it's here create\n", "The values");
      same(
        (await c.run({ code, envs: { BOTH: "run" } }, { in: record })).stdout,
        "it's here run\n",
        "The values with envs of the run",
      );
    },
  },
  {
    name: "sandboxes-apart",
    about: "Two sandboxes share neither files nor state, and deleting one leaves the other.",
    async run(c) {
      const [one, two] = [await c.fresh(), await c.fresh()];
      must(one.sandboxId !== two.sandboxId, "Two sandboxes have one id.");
      await c.write("mine.txt", "one", "utf8", one);
      await c.setState(one, { who: "one" });
      same((await c.run("ls -A", { in: two })).stdout, "", "What the other sandbox finds");
      same(await c.state(two), {}, "The other sandbox's state");
      await c.write("mine.txt", "two", "utf8", two);
      same((await c.read("mine.txt", "utf8", one)).content, "one", "The file of the first");
      await c.delete(one);
      same(
        (await c.run("cat mine.txt", { in: two })).stdout,
        "two",
        "The file of the second, after the first is gone",
      );
    },
  },
  {
    name: "delete-twice",
    about: "Deleting a sandbox again is no failure.",
    async run(c) {
      const record = await c.fresh();
      await c.delete(record);
      await c.delete(record);
    },
  },
  {
    name: "delete-ends-runs",
    about: "Deleting a sandbox ends what runs in it.",
    async run(c) {
      const record = await c.fresh();
      const code = "touch begun; sleep 600; echo survived";
      const run = c.runRaw({ code, timeout: 300 }, { in: record }).then(
        async (response) => (response.ok ? (await readAnswer(response)).stdout : ""),
        () => "",
      );
      await c.until(
        async () => (await c.run("ls", { in: record })).stdout.includes("begun"),
        20,
        "The run did not begin.",
      );
      await c.delete(record);
      const late = sleep(15_000, undefined, { signal: c.signal });
      // When the run ends first, the check's end ends this wait.
      late.catch(() => {});
      const text = await Promise.race([run, late]);
      must(text !== undefined, "The run went on for 15 s after its sandbox was deleted.");
      must(!text.includes("survived"), "The run went on to its end although its sandbox was deleted.");
    },
  },
  {
    name: "after-delete",
    about: "Whatever is asked of a deleted sandbox is sandbox_not_found.",
    async run(c) {
      const record = await c.fresh();
      await c.run("true", { in: record });
      await c.delete(record);
      const { adapter } = c;
      const request = { code: "echo here", runtime: "shell" } as const;
      const file = { path: "x", content: "x", encoding: "utf8" } as const;
      const install = { package: "left-pad", manager: "npm", timeout: 20 } as const;
      const calls: [string, () => Promise<unknown>][] = [
        ["runSandbox", () => adapter.runSandbox(record, request, c.env())],
        ["runSandboxStream", () => adapter.runSandboxStream(record, request, c.env())],
        ["writeFile", () => adapter.writeFile(record, file, c.env())],
        ["readFile", () => adapter.readFile(record, "x", "utf8", c.env())],
        ["getState", () => adapter.getState(record, c.env())],
        ["setState", () => adapter.setState(record, { a: 1 }, c.env())],
        ["installPackage", () => adapter.installPackage(record, install, c.env())],
      ];
      for (const [name, call] of calls)
        await c.refused(`${name} after deleteSandbox`, call, ["sandbox_not_found"]);
    },
  },
  {
    name: "ten-at-once",
    about: "Ten runs of one sandbox go on beside each other, each with its own output.",
    async run(c) {
      const record = await c.fresh();
      // Each waits until all ten are there: one after the other they would never end.
      const code = (i: number) =>
        `touch at-${i}; n=0; while [ $n -lt 10 ]; do n=$(ls | grep -c '^at-'); sleep 0.1; done; echo ${i}; echo e${i} >&2; exit ${i}`;
      const one = async (i: number) => {
        const run = await c.run({ code: code(i), timeout: 20 }, { in: record });
        must(
          run.status !== "timed_out",
          "Not all of ten runs were under way at once: some waited for others.",
        );
        return run;
      };
      const runs = await Promise.all(Array.from({ length: 10 }, (_, i) => one(i)));
      same(
        runs.map(({ stdout, stderr, exit_code }) => [stdout, stderr, exit_code]),
        runs.map((_, i) => [`${i}\n`, `e${i}\n`, i]),
        "stdout, stderr and exit_code of each",
      );
    },
  },
  {
    name: "error-shapes",
    about: "Every failure is a CerverError with a code of ours, its status and a sentence.",
    async run(c) {
      const record = await c.sandbox();
      const env = c.env();
      const nowhere = { ...record, sandboxId: `${record.sandboxId}x` };
      const calls: [string, () => Promise<unknown>][] = [
        ["a run in a sandbox that never was", () => c.runRaw("true", { in: nowhere })],
        ["a stream in a sandbox that never was", () => c.streamRaw("true", { in: nowhere })],
        ["a read in a sandbox that never was", () => c.adapter.readFile(nowhere, "x", "utf8", env)],
        ["the state of a sandbox that never was", () => c.adapter.getState(nowhere, env)],
        ["an empty path", () => c.adapter.readFile(record, "", "utf8", env)],
        ["a file that is not there", () => c.adapter.readFile(record, "error-shapes.none", "utf8", env)],
        ["a cwd outside", () => c.runRaw({ code: "true", cwd: "../.." })],
      ];
      for (const [what, call] of calls) {
        const { code, message } = await c.refused(what, call);
        must(
          code !== "internal",
          `${what}: it fails as a bug (internal) instead of a failure that says what it is.`,
        );
        must(/[.!?)]$/.test(message.trim()), `${what}: its message is no sentence: “${message}”.`);
      }
    },
  },
];
