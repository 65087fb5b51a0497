import * as account from "../../../protocol/account.js";
import * as audit from "../../../protocol/audit.js";
import * as computes from "../../../protocol/computes.js";
import * as costs from "../../../protocol/costs.js";
import * as login from "../../../protocol/device-login.js";
import * as providers from "../../../protocol/providers.js";
import * as routing from "../../../protocol/routing.js";
import * as runs from "../../../protocol/runs.js";
import * as sandbox from "../../../protocol/sandbox.js";
import * as search from "../../../protocol/search.js";
import * as sessions from "../../../protocol/sessions.js";
import * as stress from "../../../protocol/stress-tests.js";
import * as transcript from "../../../protocol/transcript.js";

/** Names of schemas that have no `id` where they are written, for the document and for the client's types. */
export const NAMES = {
  Scope: account.Scope,
  CreatedKey: account.CreatedKey,
  KeyList: account.KeyList,
  WhoAmI: account.WhoAmI,
  AuditList: audit.AuditList,
  RegisteredCompute: computes.RegisteredCompute,
  HeartbeatRequest: computes.HeartbeatRequest,
  ComputeList: computes.ComputeList,
  ComputeUse: costs.ComputeUse,
  DeviceLogin: login.DeviceLogin,
  DevicePollAnswer: login.DevicePollAnswer,
  ProviderStatus: providers.ProviderStatus,
  ProviderList: providers.ProviderList,
  EnabledProviderList: providers.EnabledProviderList,
  Attempt: routing.Attempt,
  RoutingMode: routing.RoutingMode,
  RoutingExplained: routing.RoutingExplained,
  DecisionCandidate: routing.DecisionCandidate,
  Estimates: routing.Estimates,
  Runtime: runs.Runtime,
  RunStatus: runs.RunStatus,
  RunOutput: runs.RunOutput,
  RunList: runs.RunList,
  StdinRequest: runs.StdinRequest,
  StdinAnswer: runs.StdinAnswer,
  SandboxRunAnswer: sandbox.SandboxRunAnswer,
  InstallRequest: sandbox.InstallRequest,
  WriteFileRequest: sandbox.WriteFileRequest,
  FileContent: sandbox.FileContent,
  SnippetPart: search.SnippetPart,
  SearchHit: search.SearchHit,
  Repo: sessions.Repo,
  Requirements: sessions.Requirements,
  Policy: sessions.Policy,
  SessionSummary: sessions.SessionSummary,
  SessionList: sessions.SessionList,
  SessionRecord: sessions.SessionRecord,
  PatchSessionRequest: sessions.PatchSessionRequest,
  PauseRequest: sessions.PauseRequest,
  ResumeRequest: sessions.ResumeRequest,
  ChangeComputeRequest: sessions.ChangeComputeRequest,
  StatusRequest: sessions.StatusRequest,
  StressPattern: stress.StressPattern,
  Distribution: stress.Distribution,
  StressSample: stress.StressSample,
  ProviderResult: stress.ProviderResult,
  StressReport: stress.StressReport,
  StressEvent: stress.StressEvent,
  StressTestList: stress.StressTestList,
  EntrySource: transcript.EntrySource,
  AppendTranscriptAnswer: transcript.AppendTranscriptAnswer,
};
