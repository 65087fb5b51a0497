import { lstat, mkdir, open, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { CerverError } from "../../protocol/errors.js";
import { moveEntry, namesIn, removeTree } from "./remove-tree.js";
import { isStagingName, newStagingName } from "./staging-name.js";

export interface StagingPlace {
  /** The folder that a tree is to come into. */
  folder: string;
  /** Where the staging folder is made: on the same disk, and where runs do not look. */
  parent: string;
  /** The file that remembers it, in a folder of ours. */
  record: string;
}

/** What has to be known to undo a move. */
const Move = z.strictObject({
  name: z.string().refine(isStagingName),
  /** The staging folder's number on its disk. The disk's own may be another one after the machine starts again. */
  ino: z.string(),
  /** What the folder held may be in `old`. */
  taken: z.boolean(),
  /** Names in the folder that come from the tree. */
  brought: z.array(z.string()),
});
type Move = z.infer<typeof Move>;

/**
 * The private place where a tree is put together before it is moved into a folder, and the way back.
 *
 * The place may be in a folder of the user's own, so that a move is a rename. That a move is under way is remembered
 * elsewhere, with our own state: nothing that somebody puts into a folder can pass for a move that was cut off.
 */
export class Staging {
  readonly #place: StagingPlace;
  readonly #name: string;
  /** Undefined while there is nothing of it on the disk. */
  #move: Move | undefined;

  constructor(place: StagingPlace, left?: Move) {
    this.#place = place;
    this.#name = left?.name ?? newStagingName();
    this.#move = left;
  }

  /** Undoes a move that was cut off, if one was, so that the folder is as it was; removes what came. */
  static async recover(place: StagingPlace): Promise<void> {
    const text = await readFile(place.record, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    if (text !== undefined) await new Staging(place, Move.parse(JSON.parse(text))).remove();
  }

  get path(): string {
    return join(this.#place.parent, this.#name);
  }

  async make(): Promise<void> {
    await mkdir(this.path, { mode: 0o700 });
    try {
      const { ino } = await lstat(this.path, { bigint: true });
      await this.#remember({ name: this.#name, ino: `${ino}`, taken: false, brought: [] });
    } catch (error) {
      await rmdir(this.path);
      throw error;
    }
  }

  /** Moves what is in the folder out of the way. */
  async takeOut(): Promise<void> {
    const { folder } = this.#place;
    await mkdir(this.#old, { mode: 0o700 });
    await this.#remember({ taken: true });
    for (const name of await namesIn(folder)) await moveEntry(join(folder, name), join(this.#old, name));
  }

  /** Moves what is in a folder of this place into the folder, which holds nothing then. */
  async bringIn(tree: string): Promise<void> {
    const names = await namesIn(tree);
    await this.#remember({ brought: names });
    for (const name of names) await moveEntry(join(tree, name), join(this.#place.folder, name));
  }

  /** The move is done: it is not undone any more. */
  async settle(): Promise<void> {
    await this.#remember({ taken: false, brought: [] });
  }

  /** Makes the folder what it was before. Something new that has a name of what was there stays, and this fails. */
  async undo(): Promise<void> {
    const { folder } = this.#place;
    const { taken, brought } = this.#move ?? { taken: false, brought: [] };
    for (const name of brought) await removeTree(join(folder, name));
    // Before anything is back: what comes back may have these names too.
    if (brought.length > 0) await this.#remember({ brought: [] });
    if (!taken) return;
    const inTheWay: string[] = [];
    for (const name of await namesIn(this.#old)) {
      const path = join(folder, name);
      if (await isThere(path)) inTheWay.push(name);
      else await moveEntry(join(this.#old, name), path);
    }
    if (inTheWay.length > 0) throw somethingInTheWay(folder, this.#old, inTheWay);
    await this.#remember({ taken: false });
    await rmdir(this.#old);
  }

  /** Removes the place. A move that is not settled is undone first. */
  async remove(): Promise<void> {
    if (!this.#move) return;
    if (await this.#isOurs()) {
      await this.undo();
      await removeTree(this.path);
    } else if (this.#move.taken) {
      throw notOurs(this.#place, this.path);
    }
    await rm(this.#place.record, { force: true });
    this.#move = undefined;
  }

  get #old(): string {
    return join(this.path, "old");
  }

  /** Whether what is on the disk is the folder that was made here; no link is followed. */
  async #isOurs(): Promise<boolean> {
    const { dev } = await stat(this.#place.parent, { bigint: true });
    const found = await lookAt(this.path);
    const isSame = found?.isDirectory() && found.dev === dev && `${found.ino}` === this.#move?.ino;
    if (!isSame || !this.#move?.taken) return isSame ?? false;
    return (await lookAt(this.#old))?.isDirectory() ?? false;
  }

  /** Writes down how far the move is. It is on the disk before what comes next, also when the power fails. */
  async #remember(now: Partial<Move>): Promise<void> {
    const { folder, record } = this.#place;
    const move = Move.parse({ ...this.#move, ...now });
    await syncFolder(folder);
    const file = await open(`${record}.new`, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(move));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${record}.new`, record);
    await syncFolder(dirname(record));
    this.#move = move;
  }
}

function lookAt(path: string) {
  return lstat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

async function isThere(path: string): Promise<boolean> {
  return (await lookAt(path)) !== undefined;
}

/** Some file systems cannot, and are no less safe than they always are. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  await folder.sync().catch(() => {});
  await folder.close();
}

function somethingInTheWay(folder: string, old: string, names: readonly string[]): CerverError {
  return new CerverError(
    "conflict",
    `A move into ${folder} was undone, but for ${names.length} names that something new has, such as "${names[0]}".`,
    { hint: `What was there before is in ${old}. Move what is new away, then start the move again.` },
  );
}

function notOurs({ folder, record }: StagingPlace, path: string): CerverError {
  return new CerverError(
    "conflict",
    `A move into ${folder} was cut off, and ${path} is not what the relay left there.`,
    {
      hint: `It had what the folder held before, in "old". Put that back by hand, then remove ${record}.`,
    },
  );
}
