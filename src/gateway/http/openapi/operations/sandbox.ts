import { FileWritten, SandboxDeleted, SandboxStateAnswer, StateKept } from "../../../../protocol/answers.js";
import { RunEvent } from "../../../../protocol/runs.js";
import {
  FileContent,
  FileQuery,
  InstallRequest,
  NewSandboxRequest,
  SandboxAnswer,
  SandboxRunAnswer,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../../../../protocol/sandbox.js";
import type { Theme } from "../operation.js";

const SANDBOX = "/sandbox/{sandbox_id}";
const REACHES = [
  "sandbox_not_found",
  "unsupported",
  "provider_failed",
  "compute_lost",
  "compute_offline",
] as const;
const RunIt = SandboxRunRequest.meta({ id: "SandboxRunRequest" });

export const sandbox: Theme = {
  name: "Sandbox",
  description: "The compute layer as it is, for those who need no session. Apps use sessions.",
  operations: [
    {
      id: "createSandbox",
      method: "post",
      path: "/sandbox",
      summary: "Make a sandbox",
      scope: "run",
      body: { json: NewSandboxRequest },
      answers: { 201: { what: "The sandbox.", json: SandboxAnswer } },
      errors: [
        "spend_limit",
        "compute_not_found",
        "no_compute",
        "unsupported",
        "provider_failed",
        "compute_offline",
      ],
    },
    {
      id: "runInSandbox",
      method: "post",
      path: `${SANDBOX}/run`,
      summary: "Run code and wait for its end",
      scope: "run",
      body: { json: RunIt, optional: false },
      answers: { 200: { what: "It has ended.", json: SandboxRunAnswer, headers: ["X-Cerver-Provider"] } },
      errors: REACHES,
    },
    {
      id: "runStreamInSandbox",
      method: "post",
      path: `${SANDBOX}/run/stream`,
      summary: "Run code and follow it",
      scope: "run",
      body: { json: RunIt, optional: false },
      answers: {
        200: { what: "Events while they happen.", events: RunEvent, headers: ["X-Cerver-Provider"] },
      },
      errors: REACHES,
    },
    {
      id: "installInSandbox",
      method: "post",
      path: `${SANDBOX}/install`,
      summary: "Install one package",
      scope: "run",
      body: { json: InstallRequest, optional: false },
      answers: {
        200: {
          what: "What the package manager said.",
          json: SandboxRunAnswer,
          headers: ["X-Cerver-Provider"],
        },
      },
      errors: REACHES,
    },
    {
      id: "writeFile",
      method: "put",
      path: `${SANDBOX}/files`,
      summary: "Write a file; folders on the way are made",
      scope: "run",
      body: { json: WriteFileRequest, optional: false },
      answers: { 200: { what: "It is written.", json: FileWritten, headers: ["X-Cerver-Provider"] } },
      errors: REACHES,
    },
    {
      id: "readFile",
      method: "get",
      path: `${SANDBOX}/files`,
      summary: "Read a file",
      scope: "read",
      query: FileQuery,
      answers: { 200: { what: "The file.", json: FileContent, headers: ["X-Cerver-Provider"] } },
      errors: [...REACHES, "file_not_found", "too_large"],
    },
    {
      id: "getSandboxState",
      method: "get",
      path: `${SANDBOX}/state`,
      summary: "The JSON object that is kept with a sandbox",
      scope: "read",
      answers: { 200: { what: "The object.", json: SandboxStateAnswer, headers: ["X-Cerver-Provider"] } },
      errors: REACHES,
    },
    {
      id: "setSandboxState",
      method: "put",
      path: `${SANDBOX}/state`,
      summary: "Keep a JSON object with a sandbox",
      scope: "run",
      body: { json: SandboxState },
      answers: { 200: { what: "It is kept.", json: StateKept, headers: ["X-Cerver-Provider"] } },
      errors: REACHES,
    },
    {
      id: "deleteSandbox",
      method: "delete",
      path: SANDBOX,
      summary: "End a sandbox",
      scope: "run",
      answers: { 200: { what: "It is gone.", json: SandboxDeleted } },
      errors: [...REACHES, "conflict"],
    },
  ],
};
