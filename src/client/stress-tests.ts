import { StressEvent, StressReport, StressTestList } from "../protocol/stress-tests.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** Providers compared. */
export interface StressTestCalls {
  /** A simulated test answers with its report; a live one answers that it runs. */
  beginStressTest(body?: wire.StressTestRequest): Promise<wire.StressReport>;
  /** A test's progress; its report is the last event. Leaving does not end the test. */
  followStressTest(id: string, signal?: AbortSignal): AsyncGenerator<wire.StressEvent>;
  stressTest(id: string): Promise<wire.StressReport>;
  stressTests(): Promise<wire.StressTestList["stress_tests"]>;
  /** Ends a test; its sandboxes are deleted. */
  cancelStressTest(id: string): Promise<wire.StressReport>;
}

export function stressTestCalls(http: GatewayHttp): StressTestCalls {
  return {
    beginStressTest: (body = {}) => http.json("POST", "/v2/stress-tests", StressReport, { body }),
    followStressTest: (id, signal) =>
      http.items("GET", at`/v2/stress-tests/${id}/events`, StressEvent, {
        signal,
        last: ({ type }) => type === "report",
      }),
    stressTest: (id) => http.json("GET", at`/v2/stress-tests/${id}`, StressReport),
    stressTests: async () => (await http.json("GET", "/v2/stress-tests", StressTestList)).stress_tests,
    cancelStressTest: (id) => http.json("DELETE", at`/v2/stress-tests/${id}`, StressReport),
  };
}
