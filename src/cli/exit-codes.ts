/** What the exit codes of `cerver` mean. `cerver run`, `logs -f` and `attach` otherwise exit with the run's own code. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** For service managers: starting it again cannot help (sysexits.h, EX_CONFIG). */
  gaveUp: 78,
  /** A run was ended by its timeout, as timeout(1) has it. */
  timedOut: 124,
  /** cerver itself failed, or the outcome of a run is unknown. */
  cerverFailed: 125,
  /** Ctrl-C. */
  interrupted: 130,
} as const;
