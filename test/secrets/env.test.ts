import { describeBackend, VALUES } from "./backend-suite.js";

describeBackend("env", {
  scheme: "env:",
  // It is read from memory.
  never: ["expired", "unreachable", "rate_limited"],
  start: async () => ({
    env: {
      PLAIN: VALUES.plain,
      LINES: VALUES.lines,
      BEYOND: VALUES.beyond,
      FULL: VALUES.full,
      OVER: VALUES.over,
      CERVER_API_TOKEN: "canary-1",
    },
    found: { PLAIN: VALUES.plain, LINES: VALUES.lines, BEYOND: VALUES.beyond, FULL: VALUES.full },
    canary: "canary-1",
    failures: { not_found: { name: "NOTHING" }, refused: { name: "CERVER_API_TOKEN" } },
    over: "OVER",
    malformed: "a b",
    asked: () => 0,
    close: () => {},
  }),
});
