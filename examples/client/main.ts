// Runs a build in a session and follows it. CERVER_GATEWAY_URL and CERVER_API_TOKEN say where.
import { CerverError, GatewayClient } from "cerver/client";

const { CERVER_GATEWAY_URL: gatewayUrl = "http://127.0.0.1:8787", CERVER_API_TOKEN: token } = process.env;
const cerver = new GatewayClient({ gatewayUrl, token });

try {
  const { session_id, provider, routing } = await cerver.createSession({
    task: "Build the site",
    requirements: { runtime: "shell" },
    labels: { app: "site" },
  });
  console.log(`on ${provider}: ${routing.primary_reason}`);

  for await (const event of cerver.runStream(session_id, { code: "echo building; sleep 1; echo done" })) {
    if (event.type === "stdout") process.stdout.write(event.data);
    if (event.type === "exit")
      console.log(`exit ${event.exit_code} after ${Math.round(event.duration_ms)} ms`);
  }

  const { transcript } = await cerver.session(session_id, { tail: 2 });
  console.log(transcript.map(({ role, kind }) => `${role} ${kind}`).join(", "));

  const { sessions } = await cerver.sessions({ labels: { app: "site" } });
  console.log(`${sessions.length} with this label`);
  await cerver.closeSession(session_id);
} catch (error) {
  if (!(error instanceof CerverError)) throw error;
  console.error(`${error.code}: ${error.message} ${error.hint ?? ""}`);
  process.exitCode = 1;
}
