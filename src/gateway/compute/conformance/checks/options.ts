import { type ConformanceCheck, must, same } from "../check.js";

/** What a run may ask for: its words are obeyed or refused, never ignored. */
export const OPTIONS: readonly ConformanceCheck[] = [
  {
    name: "envs",
    about: "envs reach the run exactly, whatever is in them, and no other run.",
    async run(c) {
      const envs = {
        PLAIN: "plain",
        QUOTED: `it's "quoted" $HOME \`id\` \\ %s`,
        LINES: "one\ntwo\n",
        LETTERS: "äöü 😀",
        EMPTY: "",
        EQUALS: "a=b=c",
      };
      const names = Object.keys(envs) as (keyof typeof envs)[];
      const code = names.map((name) => `printf '%s|' "$${name}"`).join("; ");
      same(
        (await c.run({ code, envs })).stdout,
        names.map((name) => `${envs[name]}|`).join(""),
        "The values",
      );
      same((await c.run("printenv PLAIN || echo none")).stdout, "none\n", "PLAIN in the next run");
      const { out } = await c.streamed({ code, envs });
      same(out.toString(), names.map((name) => `${envs[name]}|`).join(""), "The values in a stream");
    },
  },
  {
    name: "cwd",
    about: "cwd is a folder relative to the sandbox's own.",
    async run(c) {
      await c.run("mkdir -p 'cwd-a/b c'");
      const base = (await c.run("pwd -P")).stdout.trim();
      const here = await c.run({ code: "pwd -P; touch here", cwd: "cwd-a/b c" });
      same(here.stdout, `${base}/cwd-a/b c\n`, "Where the run worked");
      same((await c.run("ls 'cwd-a/b c'")).stdout, "here\n", "What it left there");
      const { out } = await c.streamed({ code: "pwd -P", cwd: "cwd-a" });
      same(out.toString(), `${base}/cwd-a\n`, "Where the streamed run worked");
      same((await c.run({ code: "pwd -P", cwd: "." })).stdout, `${base}\n`, "Where cwd “.” is");
      same((await c.run("pwd -P")).stdout, `${base}\n`, "Where the next run worked");
    },
  },
  {
    name: "cwd-leaving",
    about: "A cwd that leaves the sandbox's folder is refused, and nothing runs.",
    async run(c) {
      for (const cwd of ["..", "../..", "a/../../..", "/", "/etc"]) {
        await c.refused(`cwd "${cwd}"`, () => c.runRaw({ code: "touch cwd-leaving.ran; pwd", cwd }), [
          "forbidden",
          "invalid_request",
        ]);
      }
      await c.refused('cwd ".." of a stream', () => c.streamRaw({ code: "pwd", cwd: ".." }), [
        "forbidden",
        "invalid_request",
      ]);
    },
  },
  {
    name: "cwd-missing",
    about: "A cwd that is not there is refused, not made up.",
    async run(c) {
      const what = "a cwd that is not there";
      await c.refused(what, () => c.runRaw({ code: "touch cwd-missing.ran", cwd: "cwd-not-there" }), [
        "invalid_request",
        "file_not_found",
        "not_found",
      ]);
      await c.refused(
        `${what}, of a stream`,
        () => c.streamRaw({ code: "touch cwd-missing.ran", cwd: "cwd-not-there" }),
        ["invalid_request", "file_not_found", "not_found"],
      );
      same((await c.run("ls -d cwd-missing.ran cwd-not-there 2>/dev/null; true")).stdout, "", "What it left");
    },
  },
  {
    name: "stdin",
    about: "stdin reaches the run exactly, and ends; without it stdin is empty.",
    async run(c) {
      const stdin = "héllo\nno newline at the end, 'quotes' $HOME \\n";
      same(
        (await c.run({ code: "cat; echo; echo done", stdin })).stdout,
        `${stdin}\ndone\n`,
        "What cat read",
      );
      same((await c.streamed({ code: "cat", stdin })).out.toString(), stdin, "What cat read in a stream");
      same((await c.run({ code: "wc -c", timeout: 10 })).stdout.trim(), "0", "Bytes without stdin");
      const long = "0123456789abcdef".repeat(64 * 1024);
      same(
        (await c.run({ code: "wc -c", stdin: long })).stdout.trim(),
        String(long.length),
        "Bytes of 1 MiB",
      );
      const unread = await c.run({ code: "echo no interest", stdin: long });
      same([unread.status, unread.stdout], ["succeeded", "no interest\n"], "A run that does not read it");
    },
  },
  {
    name: "node",
    about: "runtime node runs the text as an ES module with top-level await.",
    async run(c) {
      const code = `import { basename } from "node:path";
import { env } from "node:process";
const { log, error } = console;
const value = await Promise.resolve(6 * 7);
const { readFile } = await import("node:fs/promises");
log(value, basename("/a/b"), typeof readFile, typeof require, env.NODE_CHECK);
error("apart");
process.exit(4);`;
      const run = await c.run({ code, runtime: "node", envs: { NODE_CHECK: "env" } });
      must(run.exit_code !== 127, `There is no node in this sandbox: ${run.stderr.slice(0, 200)}`);
      same(
        [run.stdout, run.stderr, run.exit_code],
        ["42 b function undefined env\n", "apart\n", 4],
        "stdout, stderr and exit_code",
      );
      const failed = await c.run({ code: "await Promise.reject(new Error('thrown here'))", runtime: "node" });
      same([failed.status, failed.exit_code], ["failed", 1], "status and exit_code of a module that throws");
      must(failed.stderr.includes("thrown here"), "stderr does not tell what was thrown.");
      const streamed = await c.streamed({ code: 'process.stdout.write("s")', runtime: "node" });
      same(streamed.out.toString(), "s", "stdout of a stream");
    },
  },
  {
    name: "node-stdin-cwd",
    about: "runtime node takes stdin, cwd and files as the shell does.",
    async run(c) {
      await c.write("node-cwd/data.txt", "data");
      const code = `import { readFileSync } from "node:fs";
let text = ""; for await (const chunk of process.stdin) text += chunk;
const { log } = console;
log(text, readFileSync("data.txt", "utf8"), process.cwd().endsWith("/node-cwd"));`;
      const run = await c.run({ code, runtime: "node", stdin: "given", cwd: "node-cwd" });
      same([run.stdout, run.stderr], ["given data true\n", ""], "stdout and stderr");
    },
  },
  {
    name: "code-exact",
    about: "The text of a run reaches the shell exactly: quotes, lines, here-documents, signs beyond ASCII.",
    async run(c) {
      const code = `cat <<'END'\n$HOME "quoted" 'it''s' \\ \`x\` %s ä😀\n\n  two\nEND\nf() { echo "f $1"; }\nf 'a b'  # a comment`;
      same((await c.run(code)).stdout, `$HOME "quoted" 'it''s' \\ \`x\` %s ä😀\n\n  two\nf a b\n`, "stdout");
      const long = `: ${"x".repeat(200_000)}\necho long`;
      same((await c.run(long)).stdout, "long\n", "stdout of a text of 200,000 characters");
      same((await c.run("# nothing but a comment")).exit_code, 0, "The exit code of a comment");
    },
  },
  {
    name: "fresh-shell",
    about: "Every run begins in a fresh shell: what another set, defined or changed to is not there.",
    async run(c) {
      const base = (await c.run("pwd -P")).stdout;
      await c.run(
        "mkdir -p fresh-shell; cd fresh-shell; LEFT=1; export LEFT; left() { echo; }; umask 000; set -e",
      );
      const { stdout } = await c.run("pwd -P; printenv LEFT || echo none; command -v left; false; echo on");
      same(stdout, `${base}none\non\n`, "What the next run finds");
    },
  },
  {
    name: "unknown-refused",
    about: "An option that the adapter does not know is refused by its name, not ignored.",
    async run(c) {
      const code = "touch unknown-refused.ran";
      for (const [option, value] of [
        ["frobnicate", true],
        ["user", "root"],
        ["sudo", true],
      ] as const) {
        const codes = ["invalid_request", "unsupported"] as const;
        const failure = await c.refused(
          `option "${option}"`,
          () => c.runRaw({ code, [option]: value }),
          codes,
        );
        must(
          failure.message.includes(option),
          `The refusal of "${option}" does not name it: “${failure.message}”.`,
        );
        await c.refused(
          `option "${option}" of a stream`,
          () => c.streamRaw({ code, [option]: value }),
          codes,
        );
      }
      await c.refused("runtime python", () => c.runRaw({ code, runtime: "python" as never }), [
        "invalid_request",
        "unsupported",
      ]);
      same(
        (await c.run("ls unknown-refused.ran 2>/dev/null; true")).stdout,
        "",
        "What the refused runs left",
      );
    },
  },
  {
    name: "unsupported-refused",
    about: "Without durable runs, background and stdin_open are refused as unsupported.",
    async run(c) {
      if (c.adapter.durable) return c.skip("Its runs are durable, so it takes both.");
      const code = "touch unsupported-refused.ran";
      for (const option of ["background", "stdin_open"]) {
        await c.refused(option, () => c.runRaw({ code, [option]: true }), ["unsupported"]);
        await c.refused(`${option} of a stream`, () => c.streamRaw({ code, [option]: true }), [
          "unsupported",
        ]);
      }
      same(
        (await c.run("ls unsupported-refused.ran 2>/dev/null; true")).stdout,
        "",
        "What the refused runs left",
      );
    },
  },
];
