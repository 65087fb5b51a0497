import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    // Against real vendors, with real credentials: `npm run test:live`.
    exclude: ["test/live/**", "node_modules/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // These tests start real processes and wait for them: three files at a time keep two cores busy.
    maxWorkers: 3,
  },
});
