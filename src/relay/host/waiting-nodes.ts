import type { WaitingShellsOptions, WokenProcess } from "./waiting-shells.js";

/** Nodes of one sandbox that are started before they are needed. */
export class WaitingNodes {
  constructor(_options: WaitingShellsOptions) {}

  wake(_code: string, _variables: Record<string, string>): WokenProcess | undefined {
    return undefined;
  }

  end(): void {}
}
