import { execFile } from "node:child_process";
import { mkdtemp, open, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

/** A disk of a few megabytes that can be filled to the last byte, in memory. */
export class SmallDisk {
  private constructor(readonly folder: string) {}

  /** Mounts one, or says why this machine does not let us. */
  static async mount(megabytes: number): Promise<SmallDisk | { why: string }> {
    if (process.platform !== "linux" || process.getuid?.() !== 0)
      return { why: "a small disk can be mounted by root on Linux only" };
    const folder = await mkdtemp(join(tmpdir(), "cerver-small-disk-"));
    try {
      await exec("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=700`, "tmpfs", folder]);
      return new SmallDisk(folder);
    } catch (error) {
      await rmdir(folder);
      return { why: `mount does not work here (${(error as Error).message.split("\n")[0]})` };
    }
  }

  /** Takes what is left of it. */
  async fill(): Promise<void> {
    const file = await open(this.#ballast, "a");
    try {
      for (let size = 1 << 20; size > 0; size >>= 1) {
        const block = Buffer.alloc(size);
        while (await file.write(block).then(({ bytesWritten }) => bytesWritten > 0, isFull));
      }
    } finally {
      await file.close();
    }
  }

  /** Gives back what {@link fill} took. */
  async free(): Promise<void> {
    await rm(this.#ballast, { force: true });
  }

  /** After the last process that uses it. */
  async unmount(): Promise<void> {
    // Lazily when something still holds it: the mount must not stay on the machine.
    await exec("umount", [this.folder]).catch(() => exec("umount", ["-l", this.folder]));
    await rmdir(this.folder);
  }

  get #ballast(): string {
    return join(this.folder, "ballast");
  }
}

function isFull(error: NodeJS.ErrnoException): false {
  if (error.code !== "ENOSPC") throw error;
  return false;
}
