import type { Compute } from "../protocol/computes.js";

/** The labels of a compute in words, such as `disk=fast, gpu=yes`; empty when it has none. */
export function labelWords({ metadata }: Pick<Compute, "metadata">): string {
  const labels = metadata?.labels;
  if (typeof labels !== "object" || labels === null || Array.isArray(labels)) return "";
  return Object.entries(labels)
    .filter(([, value]) => typeof value === "string")
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join(", ");
}
