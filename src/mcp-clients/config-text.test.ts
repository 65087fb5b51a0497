import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MCP_CLIENTS, mcpClient } from "./clients.js";
import { type ConfigFault, readConfigText } from "./config-text.js";

const ENTRY = { command: "/usr/bin/node", args: ["/opt/cerver/bin/cerver.js", "mcp"] };
const read = (text: string, client = "vscode") => {
  const { syntax, key } = mcpClient(client);
  return readConfigText(text, syntax, key);
};
const add = async (text: string, client?: string) => (await read(text, client)).add("cerver", ENTRY);
const remove = async (text: string, client?: string) => (await read(text, client)).remove("cerver");

const COMMENTED = `// mine
{
  "inputs": [], // none
  "servers": { // all of them
    // the first
    "first": { "command": "x", "env": { "A": "1" } }, // behind it
    "last": { "url": "https://example.com/mcp" }, // trailing
    /* nothing more */
  },
}
`;

describe("JSON", () => {
  test("a server is put first, and no other byte changes", async () => {
    expect(await add(COMMENTED)).toBe(
      COMMENTED.replace(
        "// all of them\n",
        `// all of them
    "cerver": {
      "command": "/usr/bin/node",
      "args": ["/opt/cerver/bin/cerver.js", "mcp"]
    },
`,
      ),
    );
  });

  test.each([
    ["comments and trailing commas", COMMENTED],
    ["no servers yet", '{\n  "other": 1\n}\n'],
    ["an empty list", '{\n\t"servers": {}\n}'],
    ["an empty list over lines", '{\n  "servers": {\n  }\n}\n'],
    ["all on one line", '{"servers":{"a":{"command":"x"}},"more":[1,2]}'],
    ["all on one line, with spaces", '{ "servers": { "a": { "command": "x" } } }'],
    ["Windows' line ends", '{\r\n    "servers": {\r\n        "a": {"command": "x"}\r\n    }\r\n}\r\n'],
    ["tabs", '{\n\t"servers": {\n\t\t"a": {\n\t\t\t"command": "x"\n\t\t}\n\t}\n}\n'],
    ["an empty line before the first", '{\n  "servers": {\n\n    "a": {"command": "x"}\n  }\n}'],
  ])("what is added and removed leaves what was there: %s", async (_, text) => {
    const added = await add(text);
    expect((await read(added)).servers.get("cerver")).toEqual(ENTRY);
    const kept = (await read(text)).servers;
    for (const [name, entry] of kept) expect((await read(added)).servers.get(name)).toEqual(entry);
    const removed = await remove(added);
    // The list itself stays when we made it, and an empty one is written as {}.
    if (kept.size > 0) expect(removed).toBe(text);
    else expect((await read(removed)).servers.size).toBe(0);
    if (text.includes("\r\n")) expect(added.replaceAll("\r\n", "")).not.toContain("\n");
  });

  test.each([
    ['{"servers":{"a":1,"cerver":{}}}', '{"servers":{"a":1}}'],
    ['{"servers":{"a":1,"cerver":{},}}', '{"servers":{"a":1,}}'],
    ['{"servers":{"a":1, "cerver":{}, "b":2}}', '{"servers":{"a":1, "b":2}}'],
    [
      '{\n "servers": {\n  "a": 1, // one\n  "cerver": {} // two\n }\n}',
      '{\n "servers": {\n  "a": 1 // one // two\n }\n}',
    ],
    ['{\n "servers": {\n  "cerver": {}\n }\n}', '{\n "servers": {}\n}'],
    ['{\n "servers": {\n  // why\n  "cerver": {}\n }\n}', '{\n "servers": {\n  // why\n }\n}'],
    [
      '{\n "servers": {\n  // why\n  "cerver": {}, "b": 2\n }\n}',
      '{\n "servers": {\n  // why\n   "b": 2\n }\n}',
    ],
  ])("wherever it stands, only it goes: %j", async (text, rest) => {
    expect(await remove(text)).toBe(rest);
  });

  test("a server that is there twice is refused: clients do not agree on which of them counts", async () => {
    await expect(read('{"servers":{"cerver":{"a":1},"cerver":{"b":2}}}')).rejects.toThrow("a second time");
  });

  test("a change keeps comments and fields that are not ours", async () => {
    const text =
      '{\n  "servers": {\n    "cerver": {\n      "command": "uvx", // old\n      "timeout": 5,\n      "env": { "CERVER_API_TOKEN": "ck_1", "STRIPE_KEY": "x" }\n    }\n  }\n}\n';
    const changed = (await read(text)).change("cerver", [
      { path: ["command"], value: "node" },
      { path: ["env", "CERVER_API_TOKEN"], value: undefined },
    ]);
    expect(changed).toContain('"command": "node", // old\n      "timeout": 5,');
    expect((await read(changed)).servers.get("cerver")).toEqual({
      command: "node",
      timeout: 5,
      env: { STRIPE_KEY: "x" },
    });
  });

  test.each([
    ["claude-code", '{\n  "mcpServers": {\n    "a": 1,\n  }\n}', 4, 3],
    ["claude-code", "{\n  // no\n}", 2, 3],
    ["gemini", '{\n  // yes\n  "mcpServers": {},\n}', 4, 1],
    ["vscode", '{\n  "servers": {\n', 3, 1],
    ["vscode", '{"servers": []}', 1, 13],
    ["vscode", '{"servers": {}, "servers": {}}', 1, 17],
    ["vscode", "[]", 1, 1],
    ["vscode", '{"servers": {}} more', 1, 17],
  ])("%s: a broken file is refused with its place: %j", async (client, text, line, column) => {
    const fault = await read(text, client).then(
      () => undefined,
      (error: ConfigFault) => error,
    );
    expect(fault).toMatchObject({ name: "ConfigFault", line, column });
  });

  test("any servers in any order come back, however often ours is added and removed", async () => {
    const json = fc.jsonValue({ maxDepth: 2 });
    const name = fc.string().filter((one) => one !== "cerver" && one !== "__proto__");
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(name, json),
        fc.constantFrom(undefined, 2, "\t"),
        async (servers, space) => {
          const text = JSON.stringify({ a: 1, servers }, null, space);
          const added = await add(text);
          expect(JSON.parse(added)).toEqual({
            a: 1,
            servers: { ...JSON.parse(text).servers, cerver: ENTRY },
          });
          expect(await remove(added)).toBe(text);
        },
      ),
      { numRuns: 300 },
    );
  });
});

const CODEX = `# mine
model = "o9" # the newest

[mcp_servers.first]
command = "x"
args = [
  "a", # one
  "b",
]

[mcp_servers.first.env]
KEY = 'it is # no comment'

# about profiles
[profiles."my own"]
text = """
[mcp_servers.cerver]
command = "not one"
"""
when = 1979-05-27 07:32:00Z
point = { x = 1, y = -2.5e3, z.w = true }

[[items]]
n = 0xff
[[items]]
n = 2
`;

describe("TOML", () => {
  test("a server is a table at the end, and no other byte changes", async () => {
    expect(await add(CODEX, "codex")).toBe(
      `${CODEX}
[mcp_servers.cerver]
command = "/usr/bin/node"
args = ["/opt/cerver/bin/cerver.js", "mcp"]
`,
    );
  });

  test.each([
    ["many things", CODEX],
    ["nothing", ""],
    ["one line without an end", 'model = "o9"'],
    ["empty lines at the end", 'model = "o9"\n\n\n'],
    ["Windows' line ends", "[a]\r\nb = 1\r\n"],
    ["only a comment", "# nothing yet\n"],
  ])("what is added and removed leaves what was there: %s", async (_, text) => {
    const added = await add(text, "codex");
    expect((await read(added, "codex")).servers.get("cerver")).toEqual(ENTRY);
    expect(await remove(added, "codex")).toBe(text);
    if (text.includes("\r\n")) expect(added.replaceAll("\r\n", "")).not.toContain("\n");
  });

  test("wherever it stands, only its tables go", async () => {
    const text = `a = 1

[ mcp_servers . "cerver" ]  # ours
command = "uvx"

[mcp_servers.cerver.env]
CERVER_API_TOKEN = "ck_1"

# about b
[mcp_servers.b]
command = "b"

[mcp_servers.cerver.more]
x = 1
`;
    expect(await remove(text, "codex")).toBe('a = 1\n\n# about b\n[mcp_servers.b]\ncommand = "b"\n');
  });

  test("a change keeps the lines that are not ours", async () => {
    const text = `[mcp_servers.cerver] # ours
command = "uvx" # old
tool_timeout_sec = 600

[mcp_servers.cerver.env]
CERVER_API_TOKEN = "ck_1"
STRIPE_KEY = "x"
`;
    const changed = (await read(text, "codex")).change("cerver", [
      { path: ["command"], value: "C:\\node.exe" },
      { path: ["args"], value: ["mcp"] },
      { path: ["env", "CERVER_API_TOKEN"], value: undefined },
      { path: ["env", "CERVER_HOME"], value: "/x" },
    ]);
    expect(changed).toBe(`[mcp_servers.cerver] # ours
args = ["mcp"]
command = "C:\\\\node.exe" # old
tool_timeout_sec = 600

[mcp_servers.cerver.env]
CERVER_HOME = "/x"
STRIPE_KEY = "x"
`);
    const inline = '[mcp_servers.cerver]\nenv = { "A" = "1", CERVER_API_TOKEN = "ck_1" } # here';
    const config = await read(inline, "codex");
    expect(config.change("cerver", [{ path: ["env", "CERVER_API_TOKEN"], value: undefined }])).toBe(
      '[mcp_servers.cerver]\nenv = { A = "1" } # here',
    );
    expect(config.change("cerver", [{ path: ["env"], value: undefined }])).toBe("[mcp_servers.cerver]");
  });

  test.each([
    ["a = ", 1, 5],
    ["a = 1\nb", 2, 2],
    ["a = 1\na = 2\n", 2, 1],
    ["[a]\n[a]\n", 2, 1],
    ['a = "x\n"', 1, 5],
    ["a = [1, 2\nb = 3", 2, 1],
    ["a = 1 b = 2", 1, 6],
    ["[a\n", 1, 3],
    ['a = """\nx', 1, 5],
    ['a = "\\q"', 1, 5],
    ["a = truest", 1, 5],
    ["a = {b = 1, b = 2}", 1, 13],
    [`a = ${"[".repeat(100)}`, 1, 70],
  ])("what is no TOML is refused with its place: %j", async (text, line, column) => {
    const fault = await read(text, "codex").then(
      () => undefined,
      (error: ConfigFault) => error,
    );
    expect(fault).toMatchObject({ name: "ConfigFault", line, column });
  });

  test.each([
    ["[mcp_servers]\ncerver = { command = 'cerver' }\n", 2],
    ["mcp_servers.cerver.command = 'cerver'\n", 1],
    ["x = 1\nmcp_servers = { cerver = { command = 'cerver' } }\n", 2],
  ])("another form than a table is refused with its place: %j", async (text, line) => {
    const config = await read(text, "codex");
    expect(config.servers.has("cerver")).toBe(true);
    expect(() => config.remove("cerver")).toThrow(expect.objectContaining({ line }));
  });

  test("strings of every kind mean what TOML says", async () => {
    const text = `[mcp_servers.cerver]
a = "tab\\t \\u00e9 \\U0001F600 \\"q\\""
b = 'C:\\raw'
c = """
one \\
   two ""quoted"" \\\\"""
d = '''
it's '''
`;
    expect((await read(text, "codex")).servers.get("cerver")).toEqual({
      a: 'tab\t é 😀 "q"',
      b: "C:\\raw",
      c: 'one two ""quoted"" \\',
      d: "it's ",
    });
  });

  test("any strings that we write are read again as they were", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), fc.array(fc.string()), async (command, args) => {
        const config = await read(CODEX, "codex");
        const made = await read(config.add("cerver", { command, args }), "codex");
        expect(made.servers.get("cerver")).toEqual({ command, args });
      }),
    );
  });
});

test.each(MCP_CLIENTS.map(({ id }) => id))(
  "%s: a fresh file is what the client itself would read",
  async (id) => {
    const text = await add("", id);
    const { key, syntax } = mcpClient(id);
    if (syntax.format === "json") expect(JSON.parse(text)).toEqual({ [key]: { cerver: ENTRY } });
    else expect(text).toMatch(/^\[mcp_servers\.cerver\]\ncommand = "\/usr\/bin\/node"\nargs = \[/);
  },
);
