import { describe, test } from "vitest";
import { ADAPTERS, missingVariables, openAdapter } from "../../src/gateway/compute/open-adapter.js";
import { describeProvider } from "../provider-conformance.js";

for (const name of Object.keys(ADAPTERS)) {
  const missing = missingVariables(name, process.env);
  if (missing.length === 0) {
    describeProvider(`${name} (live)`, async () => {
      const { target, close } = await openAdapter(name, process.env);
      return { target, close: async () => close() };
    });
  } else {
    const why = `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not set`;
    console.warn(`live: ${name} is skipped: ${why}.`);
    describe(`the ${name} (live) adapter`, () => {
      test.skip(`is not tried: ${why}`, () => {});
    });
  }
}
