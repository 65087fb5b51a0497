import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    // Against real vendors, with real credentials: `npm run test:live`.
    exclude: ["test/live/**", "node_modules/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two files at a time: these tests start real processes, and small machines have two cores.
    maxWorkers: 2,
  },
});
