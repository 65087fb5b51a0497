import type { SandboxRecord } from "../../contract.js";
import { type ConformanceCheck, must, same } from "../check.js";
import { type CheckContext, okay, readAnswer } from "../context.js";

/** A registry with one package, as an ES module that runs in the sandbox itself: installing needs no network then. */
const REGISTRY = `
import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
const file = (name, text) => {
  const head = Buffer.alloc(512);
  const put = (at, value) => head.write(value, at, "latin1");
  put(0, "package/" + name); put(100, "0000644\\0"); put(108, "0000000\\0"); put(116, "0000000\\0");
  put(124, text.length.toString(8).padStart(11, "0") + "\\0"); put(136, "00000000000\\0");
  put(148, "        "); put(156, "0"); put(257, "ustar\\0" + "00");
  put(148, head.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0") + "\\0 ");
  const body = Buffer.alloc(Math.ceil(text.length / 512) * 512); body.write(text, "latin1");
  return Buffer.concat([head, body]);
};
const tarball = gzipSync(Buffer.concat([
  file("package.json", '{"name":"cerver-tiny","version":"1.2.3","main":"index.js"}'),
  file("index.js", 'module.exports = "tiny thing is here";'),
  Buffer.alloc(1024),
]));
const server = createServer((request, response) => {
  const url = "http://127.0.0.1:" + server.address().port;
  if (request.url === "/cerver-tiny") {
    const integrity = "sha512-" + createHash("sha512").update(tarball).digest("base64");
    const version = { name: "cerver-tiny", version: "1.2.3", dist: { tarball: url + "/tiny.tgz", integrity } };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ name: "cerver-tiny", "dist-tags": { latest: "1.2.3" }, versions: { "1.2.3": version } }));
  } else if (request.url === "/tiny.tgz") response.end(tarball);
  else { response.statusCode = 404; response.end("{}"); }
}).listen(PORT, "127.0.0.1", () => process.stdout.write("ready\\n"));
`;

/** Packages. */
export const INSTALL: readonly ConformanceCheck[] = [
  {
    name: "install",
    about:
      "A package that is installed is found by the code of runs; one that is not there is an answer that failed.",
    seconds: 150,
    async run(c) {
      // Somewhere in the range that nobody is given (RFC 6335, section 6), so that two trials on one machine rarely meet.
      const port = 49_152 + Math.floor(Math.random() * 16_000);
      const registry = `http://127.0.0.1:${port}`;
      const env = {
        npm_config_registry: registry,
        npm_config_update_notifier: "false",
        npm_config_fund: "false",
      };
      const record = await c.fresh({ env });
      must(
        (await c.run("command -v npm", { in: record })).exit_code === 0,
        "There is no npm in this sandbox.",
      );
      const serving = c.stream(
        { code: REGISTRY.replace("PORT", String(port)), runtime: "node", timeout: 140 },
        { in: record },
      );
      // Read by hand: leaving a loop would cancel the stream.
      let said = "";
      while (!said.includes("ready\n")) {
        const { done, value } = await serving.next();
        must(!done, `The registry in the sandbox did not start: ${said}`);
        if (value.type === "stdout" || value.type === "stderr") said += value.data;
      }
      try {
        const installed = await install(c, record, "cerver-tiny@1.2.3");
        same(
          [installed.success, installed.exit_code],
          [true, 0],
          `success and exit_code (${installed.stderr.slice(0, 300)})`,
        );
        const code = 'const { log } = console; log((await import("cerver-tiny")).default)';
        const run = await c.run({ code, runtime: "node" }, { in: record });
        same([run.stdout, run.stderr], ["tiny thing is here\n", ""], "What a run that imports it prints");
        const missing = await install(c, record, "cerver-not-there");
        same(
          [missing.success, missing.status],
          [false, "failed"],
          "success and status of a package that is not there",
        );
      } finally {
        await serving.return(undefined).catch(() => {});
      }
    },
  },
  {
    name: "install-names",
    about: "A package's name that is a command, an option or a path is refused.",
    async run(c) {
      const record = await c.sandbox();
      for (const name of [
        "left-pad; touch installed",
        "$(touch installed)",
        "--global",
        "../x",
        "http://x/y.tgz",
      ]) {
        const request = { package: name, manager: "npm", timeout: 20 } as const;
        await c.refused(`installing "${name}"`, () => c.adapter.installPackage(record, request, c.env()), [
          "invalid_request",
        ]);
      }
      same((await c.run("ls installed 2>/dev/null; true")).stdout, "", "What the names left");
    },
  },
];

async function install(c: CheckContext, record: SandboxRecord, name: string) {
  const request = { package: name, manager: "npm", timeout: 60 } as const;
  return readAnswer(await okay(await c.adapter.installPackage(record, request, c.env()), "installPackage"));
}
