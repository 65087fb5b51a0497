/** What a confined run may see and use. It is plain data: a relay decides it, the keeper starts the process in it. */
export interface Confinement {
  /** Folders the run may write to, absolute; each is seen at its own path. Everything else is read-only or absent. */
  write: string[];
  /** Further folders it may read, absolute. `system` folders (`/usr`, `/lib`, `/etc` in part, ...) are always there. */
  read: string[];
  /** Absolute paths of the only files that may be executed; undefined means every file that it can read. */
  programs?: string[] | undefined;
  /** `all` is the machine's network, `none` is a loopback of its own, hosts are reached by name and port alone. */
  network: "all" | "none" | { hosts: string[] };
  limits: {
    memoryBytes?: number | undefined;
    processes?: number | undefined;
    /** Processor time, in seconds. */
    cpuSeconds?: number | undefined;
  };
}
