import { ReplayQuery, ReplayReport, RoutingExplained } from "../../../../protocol/routing.js";
import { CreateSessionRequest } from "../../../../protocol/sessions.js";
import {
  StressEvent,
  StressReport,
  StressTestList,
  StressTestRequest,
} from "../../../../protocol/stress-tests.js";
import type { Theme } from "../operation.js";

export const routing: Theme = {
  name: "Routing",
  description: "What the router would say. Nothing is made.",
  operations: [
    {
      id: "explainRouting",
      method: "post",
      path: "/v2/routing/explain",
      summary: "Where a create would go now, and why",
      scope: "read",
      body: { json: CreateSessionRequest },
      answers: { 200: { what: "The decision.", json: RoutingExplained } },
      errors: ["compute_not_found"],
    },
    {
      id: "replayRouting",
      method: "get",
      path: "/v2/routing/replay",
      summary: "What another policy would have chosen and cost, from recorded decisions",
      scope: "read",
      query: ReplayQuery,
      answers: { 200: { what: "The comparison.", json: ReplayReport } },
    },
  ],
};

export const stressTests: Theme = {
  name: "Stress tests",
  description: "Providers compared: simulated from what is known, or live with real sandboxes.",
  operations: [
    {
      id: "beginStressTest",
      method: "post",
      path: "/v2/stress-tests",
      summary: "Compare providers",
      description:
        "A simulated test answers with its report. A live one goes on: with `Accept: text/event-stream` its progress follows.",
      scope: "run",
      body: { json: StressTestRequest },
      answers: {
        200: {
          what: "The report; or progress, with the report last.",
          json: StressReport,
          events: StressEvent,
        },
        202: { what: "It runs.", json: StressReport },
      },
      errors: ["no_compute", "conflict"],
    },
    {
      id: "listStressTests",
      method: "get",
      path: "/v2/stress-tests",
      summary: "The account's tests, newest first",
      scope: "read",
      answers: { 200: { what: "Their heads.", json: StressTestList } },
    },
    {
      id: "getStressTest",
      method: "get",
      path: "/v2/stress-tests/{stress_test_id}",
      summary: "One test's report, as far as it is",
      scope: "read",
      answers: { 200: { what: "The report.", json: StressReport } },
      errors: ["not_found"],
    },
    {
      id: "followStressTest",
      method: "get",
      path: "/v2/stress-tests/{stress_test_id}/events",
      summary: "Follow a test; its report is the last event",
      scope: "read",
      answers: { 200: { what: "Progress. Leaving does not end the test.", events: StressEvent } },
      errors: ["not_found"],
    },
    {
      id: "cancelStressTest",
      method: "delete",
      path: "/v2/stress-tests/{stress_test_id}",
      summary: "End a test; its sandboxes are deleted",
      scope: "run",
      answers: { 200: { what: "The report.", json: StressReport } },
      errors: ["not_found"],
    },
  ],
};
