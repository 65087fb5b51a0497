// Records one exchange between an MCP client and the real binary, with a real gateway and relay, into README.md and docs/mcp.md:
// `npm run build && npx tsx scripts/record-mcp.ts`. Ids and times are of that run.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { startCerver } from "../test/harness.js";

const root = join(import.meta.dirname, "..");
const cerver = await startCerver();
const client = new Client({ name: "record", version: "1" });
try {
  const session = await cerver.session({
    session_name: "fix the login test",
    metadata: { source: "claude-code" },
  });
  const { appendTranscript, run } = cerver.client;
  await appendTranscript(session, [{ role: "user", content: "The login test fails. Find out why." }]);
  await run(session, { code: "echo 'expected 200, got 401' && exit 1" });
  await appendTranscript(session, [
    {
      role: "assistant",
      content: "The clock of the test is an hour ahead. I set it back; all tests pass now.",
    },
  ]);

  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [join(root, "bin", "cerver.js"), "mcp"],
      env: {
        PATH: process.env.PATH!,
        HOME: cerver.folder,
        CERVER_GATEWAY_URL: cerver.gateway.url,
        CERVER_API_TOKEN: cerver.token,
        BUFFER_API_KEY: "buf_example",
      },
    }),
  );
  const memory = [
    await call("cerver_session_list", { limit: 1 }),
    await call("cerver_session_peek", { session_id: session, last_n: 2 }),
    await call("cerver_session_export", { session_id: session }),
    await call("secret_fetch", { name: "BUFFER_API_KEY" }),
    await call("secret_fetch", { name: "STRIPE_KEY" }),
  ];
  const made = await call("cerver_session_create", { name: "try the fix" });
  const id = /sess_\w+/.exec(made)![0];
  const begun = await call("cerver_run", {
    session_id: id,
    code: "for i in 1 2 3; do echo test $i ok; sleep 1; done",
    wait: 1,
  });
  const work = [
    await call("cerver_session_search", { query: "clock" }),
    await call("cerver_session_peek", { session_id: session, view: "digest" }),
    made,
    begun,
    await call("cerver_run_wait", { run_id: /run_\w+/.exec(begun)![0] }),
  ];
  await put("README.md", memory);
  await put("docs/mcp.md", work);
} finally {
  await client.close();
  await cerver.stop();
}

/** A call and what the agent reads. */
async function call(name: string, args: Record<string, unknown>): Promise<string> {
  const { content } = (await client.callTool({ name, arguments: args })) as { content: { text?: string }[] };
  return `> ${name} ${JSON.stringify(args)}\n${content[0]!.text!.trimEnd()}`;
}

/** Replaces what stands between the marks of a file. */
async function put(file: string, calls: readonly string[]): Promise<void> {
  const text = await readFile(join(root, file), "utf8");
  const marks = /(<!-- recorded: scripts\/record-mcp\.ts -->\n)[\s\S]*?(<!-- end -->)/;
  if (!marks.test(text)) throw new Error(`${file} has no place for the recording`);
  await writeFile(
    join(root, file),
    text.replace(marks, (_, begin, end) => `${begin}\`\`\`text\n${calls.join("\n\n")}\n\`\`\`\n${end}`),
  );
}
