import { StatusSet } from "../../../../protocol/answers.js";
import { WhyAwake } from "../../../../protocol/awake.js";
import { SessionCost } from "../../../../protocol/costs.js";
import { SessionRouting } from "../../../../protocol/routing.js";
import {
  ChangeComputeRequest,
  CreatedSession,
  CreateSessionRequest,
  PauseRequest,
  ResumeRequest,
  SessionMoved,
  StatusRequest,
} from "../../../../protocol/sessions.js";
import type { Operation, Theme } from "../operation.js";

const SESSION = "/v2/sessions/{session_id}";

const changeCompute = (path: string, id: string, summary: string): Operation => ({
  id,
  method: "post",
  path: `${SESSION}/${path}`,
  summary,
  description:
    "The id and the transcript stay. The working folder goes along when both computes can carry it.",
  scope: "run",
  body: { json: ChangeComputeRequest, optional: false },
  answers: { 200: { what: "Where it is now.", json: SessionMoved } },
  errors: [
    "session_not_found",
    "session_ended",
    "compute_not_found",
    "no_compute",
    "conflict",
    "spend_limit",
    "unsupported",
    "provider_failed",
    "compute_offline",
  ],
});

export const sessionLife: Theme = {
  name: "Session life",
  description: "Rest, move, spawn; and why a session is as it is.",
  operations: [
    {
      id: "pauseSession",
      method: "post",
      path: `${SESSION}/pause`,
      summary: "Release a session's compute, keep everything else",
      scope: "run",
      body: { json: PauseRequest },
      answers: { 200: { what: "It rests.", json: SessionMoved } },
      errors: [
        "session_not_found",
        "session_ended",
        "conflict",
        "unsupported",
        "provider_failed",
        "compute_offline",
      ],
    },
    {
      id: "resumeSession",
      method: "post",
      path: `${SESSION}/resume`,
      summary: "Wake a session, on the same compute or another",
      scope: "run",
      body: { json: ResumeRequest },
      answers: { 200: { what: "It is awake.", json: SessionMoved } },
      errors: [
        "session_not_found",
        "session_ended",
        "no_compute",
        "conflict",
        "spend_limit",
        "provider_failed",
        "compute_offline",
      ],
    },
    changeCompute("compute", "changeCompute", "Move a session to another compute, or release its compute"),
    changeCompute(
      "change-compute",
      "changeComputeByItsOldName",
      "The same as `compute`, as public clients call it",
    ),
    {
      id: "spawnSession",
      method: "post",
      path: `${SESSION}/spawn`,
      summary: "Create a child of a session",
      scope: "run",
      body: { json: CreateSessionRequest },
      answers: { 201: { what: "The child.", json: CreatedSession } },
      errors: [
        "session_not_found",
        "spend_limit",
        "compute_not_found",
        "no_compute",
        "conflict",
        "provider_failed",
        "compute_offline",
      ],
    },
    {
      id: "setSessionStatus",
      method: "post",
      path: `${SESSION}/status`,
      summary: "Tell a session's status, as an agent's host does",
      scope: "run",
      body: { json: StatusRequest, optional: false },
      answers: { 200: { what: "It is noted.", json: StatusSet } },
      errors: ["session_not_found"],
    },
    {
      id: "getSessionRouting",
      method: "get",
      path: `${SESSION}/routing`,
      summary: "How a session came by its compute",
      scope: "read",
      answers: { 200: { what: "Every candidate with its score and refusals.", json: SessionRouting } },
      errors: ["session_not_found"],
    },
    {
      id: "whyAwake",
      method: "get",
      path: `${SESSION}/why`,
      summary: "Why a session holds a compute, and until when",
      scope: "read",
      answers: { 200: { what: "The reason, and what has moved its idle clock.", json: WhyAwake } },
      errors: ["session_not_found"],
    },
    {
      id: "getSessionCost",
      method: "get",
      path: `${SESSION}/cost`,
      summary: "What a session has cost, by the stretch",
      scope: "read",
      answers: { 200: { what: "Estimates by the provider's formula.", json: SessionCost } },
      errors: ["session_not_found"],
    },
  ],
};
