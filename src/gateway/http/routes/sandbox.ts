import { type Context, Hono } from "hono";
import { newId } from "../../../protocol/ids.js";
import { timeoutOf } from "../../../protocol/runs.js";
import {
  FileQuery,
  InstallRequest,
  NewSandboxRequest,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../../../protocol/sandbox.js";
import { registeredName } from "../../compute/contract.js";
import type { Sandboxes } from "../../compute/sandboxes.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { json, query } from "../validate.js";

/** `/sandbox`: the compute layer's nine operations as they are. Apps use sessions instead (contract section 1.15). */
export function sandboxRoutes({ sandboxes }: { sandboxes: Sandboxes }) {
  const run = requireScope("run");
  const read = requireScope("read");
  const reach = (c: Context<{ Variables: AccountVariables }>) =>
    sandboxes.reach(c.var.principal.accountId, c.req.param("id") as string, c.req.raw.signal);
  /** An adapter's answer, handed on with what it was. */
  const answer = (c: Context, response: Response, provider?: string) => {
    const headers = Object.fromEntries(response.headers);
    if (provider !== undefined) headers["x-cerver-provider"] = provider;
    return c.newResponse(response.body, response.status as 200, headers);
  };
  return new Hono<{ Variables: AccountVariables }>()
    .post("/", run, json(NewSandboxRequest), async (c) =>
      c.json(await sandboxes.create(c.var.principal.accountId, c.req.valid("json"), c.req.raw.signal), 201),
    )
    .post("/:id/run", run, json(SandboxRunRequest), async (c) => {
      const at = await reach(c);
      return answer(
        c,
        await at.adapter.runSandbox(at.record, ordered(c.req.valid("json")), at.env),
        registeredName(at.adapter),
      );
    })
    .post("/:id/run/stream", run, json(SandboxRunRequest), async (c) => {
      const at = await reach(c);
      return answer(
        c,
        await at.adapter.runSandboxStream(at.record, ordered(c.req.valid("json")), at.env),
        registeredName(at.adapter),
      );
    })
    .post("/:id/install", run, json(InstallRequest), async (c) => {
      const at = await reach(c);
      return answer(
        c,
        await at.adapter.installPackage(at.record, c.req.valid("json"), at.env),
        registeredName(at.adapter),
      );
    })
    .put("/:id/files", run, json(WriteFileRequest), async (c) => {
      const at = await reach(c);
      return answer(
        c,
        await at.adapter.writeFile(at.record, c.req.valid("json"), at.env),
        registeredName(at.adapter),
      );
    })
    .get("/:id/files", read, query(FileQuery), async (c) => {
      const at = await reach(c);
      const { path, encoding } = c.req.valid("query");
      return answer(
        c,
        await at.adapter.readFile(at.record, path, encoding, at.env),
        registeredName(at.adapter),
      );
    })
    .get("/:id/state", read, async (c) => {
      const at = await reach(c);
      return answer(c, await at.adapter.getState(at.record, at.env), registeredName(at.adapter));
    })
    .put("/:id/state", run, json(SandboxState), async (c) => {
      const at = await reach(c);
      return answer(
        c,
        await at.adapter.setState(at.record, c.req.valid("json"), at.env),
        registeredName(at.adapter),
      );
    })
    .delete("/:id", run, async (c) =>
      answer(c, await sandboxes.delete(c.var.principal.accountId, c.req.param("id"), c.req.raw.signal)),
    );
}

/** A run has its id from here on, so that it is found again wherever it is. */
function ordered(request: SandboxRunRequest): SandboxRunRequest {
  return { ...request, timeout: timeoutOf(request), run_id: newId("run") };
}
