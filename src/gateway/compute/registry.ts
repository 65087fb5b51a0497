import { type ProviderAdapter, registeredName } from "./contract.js";

/** Provider name → adapter. Being here makes a provider runnable. */
export type ProviderRegistry = ReadonlyMap<string, ProviderAdapter>;

export function providerRegistry(adapters: readonly ProviderAdapter[]): ProviderRegistry {
  return new Map(adapters.map((adapter) => [registeredName(adapter), adapter]));
}
