import type { ProviderName } from "../../protocol/providers.js";
import type { CerverInterface } from "./contract.js";

/** Provider name → adapter. Being here makes a provider runnable. */
export type ProviderRegistry = ReadonlyMap<ProviderName, CerverInterface>;

export function providerRegistry(adapters: readonly CerverInterface[]): ProviderRegistry {
  return new Map(adapters.map((adapter) => [adapter.providerName, adapter]));
}
