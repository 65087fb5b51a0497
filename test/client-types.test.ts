import { expectTypeOf, test } from "vitest";
import type { z } from "zod";
import type * as wire from "../src/client/wire.js";
import type { CreateKeyRequest } from "../src/protocol/account.js";
import type { AccountLimits } from "../src/protocol/costs.js";
import type { SessionNews } from "../src/protocol/news.js";
import type { EnableProviderRequest } from "../src/protocol/providers.js";
import type { RunAnswer, RunEvent, RunRecord, RunRequest } from "../src/protocol/runs.js";
import type { InstallRequest, NewSandboxRequest, WriteFileRequest } from "../src/protocol/sandbox.js";
import type {
  ChangeComputeRequest,
  CreatedSession,
  CreateSessionRequest,
  PauseRequest,
  SessionRecord,
} from "../src/protocol/sessions.js";
import type { StressEvent, StressTestRequest } from "../src/protocol/stress-tests.js";
import type { NewTranscriptEntry } from "../src/protocol/transcript.js";

// `npm run check` holds these: what the published types let a caller send is what the schemas read, and the other way round
// for answers.

test("what the types let a caller send, the schemas read", () => {
  expectTypeOf<wire.CreateSessionRequest>().toExtend<z.input<typeof CreateSessionRequest>>();
  expectTypeOf<wire.RunRequest>().toExtend<z.input<typeof RunRequest>>();
  expectTypeOf<wire.NewTranscriptEntry>().toExtend<z.input<typeof NewTranscriptEntry>>();
  expectTypeOf<wire.ChangeComputeRequest>().toExtend<z.input<typeof ChangeComputeRequest>>();
  expectTypeOf<wire.PauseRequest>().toExtend<z.input<typeof PauseRequest>>();
  expectTypeOf<wire.StressTestRequest>().toExtend<z.input<typeof StressTestRequest>>();
  expectTypeOf<wire.NewSandboxRequest>().toExtend<z.input<typeof NewSandboxRequest>>();
  expectTypeOf<wire.InstallRequest>().toExtend<z.input<typeof InstallRequest>>();
  expectTypeOf<wire.WriteFileRequest>().toExtend<z.input<typeof WriteFileRequest>>();
  expectTypeOf<wire.AccountLimits>().toExtend<z.input<typeof AccountLimits>>();
  expectTypeOf<wire.EnableProviderRequest>().toExtend<z.input<typeof EnableProviderRequest>>();
  expectTypeOf<wire.CreateKeyRequest>().toExtend<z.input<typeof CreateKeyRequest>>();
});

test("what the schemas read of an answer, the types say, and nothing less", () => {
  expectTypeOf<RunEvent>().toExtend<wire.RunEvent>();
  expectTypeOf<wire.RunEvent>().toExtend<RunEvent>();
  expectTypeOf<RunAnswer>().toExtend<wire.RunAnswer>();
  expectTypeOf<wire.RunAnswer>().toExtend<RunAnswer>();
  expectTypeOf<wire.RunRecord>().toExtend<RunRecord>();
  expectTypeOf<wire.CreatedSession>().toExtend<CreatedSession>();
  expectTypeOf<wire.SessionRecord>().toExtend<SessionRecord>();
  expectTypeOf<wire.SessionNews>().toExtend<SessionNews>();
  expectTypeOf<wire.StressEvent>().toExtend<StressEvent>();
});
