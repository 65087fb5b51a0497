import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SmallDisk } from "../../../test/faults/small-disk.js";
import { OutputJournal } from "./output-journal.js";

const PIECE_BYTES = 200_000;
/** What is kept of an output that no disk takes. */
const KEPT_BYTES = 4 * 1024 * 1024;
/** A disk that refused is asked again after this long. */
const RETRY_MS = 2_000;

let disk: SmallDisk;
let journal: OutputJournal;
beforeEach(async ({ skip }) => {
  const mounted = await SmallDisk.mount(64);
  if (!(mounted instanceof SmallDisk)) return skip(mounted.why);
  disk = mounted;
  journal = new OutputJournal(`${disk.folder}/run`, "stdout");
});
afterEach(async () => {
  await journal?.close();
  await disk?.unmount();
});

/** Every piece says by its bytes where it belongs. */
const print = () => journal.append(Buffer.alloc(PIECE_BYTES, (journal.size / PIECE_BYTES) % 256));

test("newer output that pushes the older out, while a disk takes some again, leaves every byte in its place", async () => {
  await disk.fill();
  for (let pieces = 0; pieces < 18; pieces++) print();
  await journal.flush();
  expect(journal.isRefused).toBe(true);
  await disk.free();
  let writes = 0;
  journal.onRoom = () => writes++;
  await sleep(RETRY_MS - 50);
  // As a run does that prints on: what is too much goes, and some of it is just being written.
  while (writes < 8) {
    print();
    if (journal.isFull && journal.isRefused) journal.dropUnwritten();
    await setImmediate();
  }
  await journal.finish();

  const { size } = journal;
  let at = size - KEPT_BYTES + PIECE_BYTES;
  while (at < size) {
    const piece = await journal.read(at);
    expect(piece?.offset).toBe(at);
    for (const [index, byte] of piece!.bytes.entries())
      if (byte !== Math.floor((at + index) / PIECE_BYTES) % 256)
        throw new Error(`a wrong byte at ${at + index}`);
    at += piece!.bytes.length;
  }
  expect(at).toBe(size);
});
