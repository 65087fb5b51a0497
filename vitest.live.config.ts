import { defineConfig } from "vitest/config";

/** Against real vendors, with the credentials that are in the environment. It costs money, and it is not quick. */
export default defineConfig({
  test: {
    include: ["test/live/**/*.test.ts"],
    reporters: ["verbose"],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    maxWorkers: 2,
  },
});
