import { type ConformanceCheck, must, same, sameBytes } from "../check.js";

/** Files and state. */
export const FILES: readonly ConformanceCheck[] = [
  {
    name: "files-text",
    about: "Text that is written is read again, by a call and by a run, in folders that are made on the way.",
    async run(c) {
      const text = "héllo 😀\r\nno newline at the end";
      await c.write("files/new folder/a.txt", text);
      const file = await c.read("files/new folder/a.txt");
      same(
        [file.content, file.encoding, file.size],
        [text, "utf8", Buffer.byteLength(text)],
        "content, encoding and size",
      );
      same((await c.run("cat 'files/new folder/a.txt'")).stdout, text, "What a run reads");
      await c.write("files/new folder/a.txt", "x");
      same(
        (await c.read("files/new folder/a.txt")).content,
        "x",
        "The file when it is written again, shorter",
      );
      await c.write("files/empty", "");
      same((await c.read("files/empty")).content, "", "An empty file");
    },
  },
  {
    name: "files-binary",
    about: "Any bytes travel as base64, both ways.",
    async run(c) {
      const bytes = Buffer.alloc(
        300_000,
        Uint8Array.from({ length: 256 }, (_, byte) => (byte * 7) % 256),
      );
      await c.write("files-binary/deep/all.bin", bytes.toString("base64"), "base64");
      const file = await c.read("files-binary/deep/all.bin", "base64");
      same([file.encoding, file.size], ["base64", bytes.length], "encoding and size");
      sameBytes(Buffer.from(file.content, "base64"), bytes, "The file");
      const { stdout } = await c.run("cksum < files-binary/deep/all.bin; wc -c < files-binary/deep/all.bin");
      same(stdout.trim().split(/\s+/).at(-1), String(bytes.length), "Bytes that a run counts");
      await c.write("files-binary/text", Buffer.from("plain").toString("base64"), "base64");
      same((await c.read("files-binary/text")).content, "plain", "Text that came as base64");
    },
  },
  {
    name: "files-of-runs",
    about: "A file that a run wrote is read by a call.",
    async run(c) {
      await c.run("mkdir -p of-runs/x; printf '\\000\\377a' > of-runs/x/bin; printf text > of-runs/x/text");
      sameBytes(
        Buffer.from((await c.read("of-runs/x/bin", "base64")).content, "base64"),
        Buffer.from([0, 255, 97]),
        "The binary file",
      );
      same((await c.read("of-runs/x/text")).content, "text", "The text file");
    },
  },
  {
    name: "files-missing",
    about: "A file that is not there is file_not_found.",
    async run(c) {
      const record = await c.sandbox();
      for (const path of ["not-there.txt", "no/such/folder/x"]) {
        const failure = await c.refused(
          `reading "${path}"`,
          () => c.adapter.readFile(record, path, "utf8", c.env()),
          ["file_not_found"],
        );
        must(failure.message.includes(path), `The failure does not name the file: “${failure.message}”.`);
      }
    },
  },
  {
    name: "files-leaving",
    about: "A path that leaves the sandbox's folder is refused, to read and to write.",
    async run(c) {
      const record = await c.sandbox();
      for (const path of [
        "../outside.txt",
        "a/../../outside.txt",
        "/etc/hostname",
        "/tmp/cerver-outside.txt",
      ]) {
        const codes = ["forbidden", "invalid_request"] as const;
        await c.refused(`reading "${path}"`, () => c.adapter.readFile(record, path, "utf8", c.env()), codes);
        const file = { path, content: "x", encoding: "utf8" } as const;
        await c.refused(`writing "${path}"`, () => c.adapter.writeFile(record, file, c.env()), codes);
      }
      same(
        (await c.run("ls ../outside.txt /tmp/cerver-outside.txt 2>/dev/null; true")).stdout,
        "",
        "What was written",
      );
    },
  },
  {
    name: "files-folder",
    about: "A folder is not read as a file.",
    async run(c) {
      await c.run("mkdir -p a-folder/in");
      const record = await c.sandbox();
      await c.refused("reading a folder", () => c.adapter.readFile(record, "a-folder", "utf8", c.env()));
    },
  },
  {
    name: "files-persist",
    about: "Files stay between runs.",
    async run(c) {
      await c.run("echo one > persist.txt");
      await c.run("echo two >> persist.txt");
      same((await c.run("cat persist.txt")).stdout, "one\ntwo\n", "The file after two runs");
    },
  },
  {
    name: "state",
    about: "The state of a sandbox comes back as it was set; setting it replaces it.",
    async run(c) {
      const record = await c.fresh();
      same(await c.state(record), {}, "The state of a new sandbox");
      const state = { step: 3, nested: { deep: [1, "zwei", null, { x: true }] }, text: "ä😀\n\"'" };
      await c.setState(record, state);
      same(await c.state(record), state, "The state that was set");
      await c.setState(record, { other: 1 });
      same(await c.state(record), { other: 1 }, "The state that was set after it");
    },
  },
];
