import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import { resolveSession } from "../resolve-session.js";

interface ImportOptions {
  session?: string;
  json?: boolean;
  gateway?: string;
}

/** What is sent at once: so many entries, and so many characters. */
const MAX_ENTRIES = 500;
const MAX_LENGTH = 4_000_000;
/** The longest line: an entry with a million characters, each of which JSON may write as six. */
const MAX_LINE = 8_000_000;

export const importCommand = (context: CliContext) =>
  new Command("import")
    .summary("read in a transcript that was exported as JSONL")
    .argument("<file>", "one entry as JSON on each line, as `cerver export --format jsonl` writes them")
    .option("--session <id>", "append to this session instead of a new one")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nThe same file imported again into the same session adds nothing.\n\nExample:\n  $ cerver import session.jsonl",
    )
    .action(async (file: string, { session, json, gateway }: ImportOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const { NewTranscriptEntry } = await import("../../protocol/transcript.js");
      const { parse } = await import("../../protocol/parse.js");
      type Entry = ReturnType<typeof NewTranscriptEntry.parse>;

      /** The line as an entry, with a key that is the same whenever this line is read. */
      const entryOf = (line: string, number: number): Entry => {
        try {
          const given = JSON.parse(line) as Record<string, unknown> | null;
          const key = createHash("sha256")
            .update(`${given?.seq ?? number} ${line}`)
            .digest("hex");
          return parse(NewTranscriptEntry, { idempotency_key: `import:${key}`, ...given });
        } catch (error) {
          throw new CerverError(
            "invalid_request",
            `${file}, line ${number}: this is not an entry of a transcript. ${(error as Error).message}`,
            { hint: "Nothing of this file was imported. `cerver export --format jsonl` writes such files." },
          );
        }
      };

      // All of it is looked at before any of it is sent.
      for await (const [line, number] of linesOf(file)) entryOf(line, number);
      const sessionId = session
        ? await resolveSession(client, session)
        : (
            await client.createSession({
              compute: null,
              session_type: "transcript",
              session_name: basename(file).slice(0, 256),
              metadata: { source: "import" },
            })
          ).session_id;
      let appended = 0;
      let known = 0;
      let batch: Entry[] = [];
      let length = 0;
      const send = async () => {
        if (batch.length === 0) return;
        const answer = await client.appendTranscript(sessionId, batch);
        appended += answer.appended;
        known += batch.length - answer.appended;
        batch = [];
        length = 0;
      };
      for await (const [line, number] of linesOf(file)) {
        if (batch.length >= MAX_ENTRIES || length + line.length > MAX_LENGTH) await send();
        batch.push(entryOf(line, number));
        length += line.length;
      }
      await send();
      if (json) return out.json({ session_id: sessionId, appended, known });
      out.line(sessionId);
      out.say(`Imported ${appended} entries${known > 0 ? `; ${known} were there already` : ""}.`);
    });

/** The lines of a file that are not empty, with their numbers. */
async function* linesOf(file: string): AsyncGenerator<[line: string, number: number]> {
  const input = createReadStream(file, "utf8");
  let number = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (line.length > MAX_LINE) {
        throw new CerverError("too_large", `${file}, line ${number} is longer than any entry may be.`, {
          hint: "Is this a file that `cerver export --format jsonl` wrote?",
        });
      }
      if (line.trim() !== "") yield [line, number];
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new CerverError("invalid_request", `There is no file ${file}.`, { hint: "Check its name." });
  } finally {
    input.destroy();
  }
}
