import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { mkdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Processes that were told to end a moment ago are gone a moment later. */
const REMOVE_TRIES = 50;
const REMOVE_WAIT_MS = 10;

/**
 * A folder of control groups of version 2 that we may write: each run gets one, so that all of its processes are known,
 * whatever they do, and can be ended in one step (cgroups(7), "Cgroups v2").
 */
export class Cgroups {
  readonly #root: string;
  #last = 0;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Makes a folder inside this process's own control group; undefined where the system does not let us. */
  static open(name: string): Cgroups | undefined {
    const own = ownCgroup();
    if (own === undefined) return undefined;
    const root = join(own, name);
    removeLeftBehind(own);
    try {
      mkdirSync(root);
      // Killing a whole group at once came with Linux 5.14.
      readFileSync(join(root, "cgroup.events"));
      writeFileSync(join(root, "cgroup.kill"), "1");
      return new Cgroups(root);
    } catch {
      removeFolder(root);
      return undefined;
    }
  }

  /** A group for one process. Moving it there takes the system some time, which nobody waits for. */
  add(pid: number): Cgroup {
    return Cgroup.ofMoved(this.nextPath(), pid);
  }

  /** Where a process is to make a group for itself, for {@link Cgroup.ofMember}. */
  nextPath(): string {
    return join(this.#root, String(++this.#last));
  }

  /** Removes the folder, once the groups in it are empty. */
  async close(): Promise<void> {
    for (let attempt = 0; attempt < REMOVE_TRIES && !removeGroups(this.#root); attempt++) {
      await new Promise((resolve) => setTimeout(resolve, REMOVE_WAIT_MS));
    }
  }
}

/** The processes of one run, as the kernel keeps them together. */
export class Cgroup {
  readonly #path: string;
  #moved: Promise<void> = Promise.resolve();
  #isPlaced = false;

  private constructor(path: string) {
    this.#path = path;
  }

  static ofMoved(path: string, pid: number): Cgroup {
    const group = new Cgroup(path);
    group.#moved = group.#move(pid);
    return group;
  }

  /** The group of a process that has put itself there, if it could. */
  static ofMember(path: string, pid: number): Cgroup {
    const group = new Cgroup(path);
    group.#isPlaced = group.members().includes(pid);
    return group;
  }

  async #move(pid: number): Promise<void> {
    try {
      await mkdir(this.#path);
      await writeFile(join(this.#path, "cgroup.procs"), String(pid));
      this.#isPlaced = true;
    } catch {
      // It has ended already, or may not be moved: then it is known by its marks.
      removeFolder(this.#path);
    }
  }

  /** Whether the process is in it: what it forks from then on is as well. */
  get isPlaced(): boolean {
    return this.#isPlaced;
  }

  /** Whether anything alive is in it. */
  get populated(): boolean {
    try {
      return readFileSync(join(this.#path, "cgroup.events"), "latin1").includes("populated 1");
    } catch {
      return false;
    }
  }

  /** The pids in it; processes that only wait to be reaped are not. */
  members(): number[] {
    try {
      return readFileSync(join(this.#path, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  /** Sends KILL to everything in it at once: nobody can fork in between. */
  kill(): void {
    try {
      writeFileSync(join(this.#path, "cgroup.kill"), "1");
    } catch {
      // The group is gone, and so are its members.
    }
  }

  /** Removes the group when nothing is in it. */
  remove(): void {
    void this.#moved.then(() => rmdir(this.#path)).catch(() => {});
  }
}

/** The folder of this process's own control group in the hierarchy of version 2. */
function ownCgroup(): string | undefined {
  try {
    const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1];
    const mount = readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" "))
      .find(([, , type]) => type === "cgroup2")?.[1];
    return own === undefined || mount === undefined ? undefined : join(mount, own);
  } catch {
    return undefined;
  }
}

function removeFolder(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    // Not there, or still in use: the folder of a group costs nothing.
    return false;
  }
}

/** Removes a folder with the groups in it; false while something is in one. */
function removeGroups(root: string): boolean {
  try {
    for (const entry of readdirSync(root, { withFileTypes: true })) {
      if (entry.isDirectory()) removeFolder(join(root, entry.name));
    }
  } catch {
    return true;
  }
  return removeFolder(root);
}

/** Removes the empty folders of keepers that were killed. */
function removeLeftBehind(own: string): void {
  try {
    for (const name of readdirSync(own)) {
      const pid = /^cerver-(\d+)$/.exec(name)?.[1];
      if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeGroups(join(own, name));
    }
  } catch {
    // They are in nobody's way.
  }
}
