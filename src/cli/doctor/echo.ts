import { randomBytes } from "node:crypto";
import type { Probe } from "./probe.js";

/** A run's own time, in seconds. */
const RUN_TIMEOUT_S = 10;
/** A session that this program could not close, because it was killed, ends by itself. */
const SESSION_MINUTES = 5;

/** A real run on this machine, there and back through the gateway. */
export const echoProbe: Probe = {
  name: "echo",
  needs: ["compute"],
  limitMs: 20_000,
  async run({ client: clientOf, computeId, signal }) {
    const client = await clientOf();
    const compute_id = await computeId();
    const word = `cerver-doctor-${randomBytes(6).toString("hex")}`;
    const { session_id } = await client.createSession({
      session_name: "cerver doctor",
      compute: { compute_id },
      requirements: { timeout_minutes: SESSION_MINUTES },
    });
    try {
      const since = performance.now();
      const answer = await client.run(session_id, { code: `echo ${word}`, timeout: RUN_TIMEOUT_S }, signal);
      const tookMs = Math.ceil(performance.now() - since);
      if (answer.result.exit_code === 0 && answer.result.stdout === `${word}\n`)
        return { status: "ok", what: `a run on this machine came back in ${tookMs} ms` };
      return {
        status: "fail",
        what: `\`echo\` on this machine ended with ${answer.result.exit_code ?? "no exit code"} and said something else`,
        fix: `See the run: cerver peek ${session_id}`,
      };
    } finally {
      await client.closeSession(session_id);
    }
  },
};
