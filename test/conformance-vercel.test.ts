import { vercelProvider } from "../src/gateway/compute/providers/vercel.js";
import { describeProvider } from "./provider-conformance.js";
import { startVercelServer } from "./vendors/vercel-server.js";

describeProvider("Vercel Sandbox", async () => {
  const options = {
    token: "vcp_conformance0123456789",
    teamId: "team_conformance",
    projectId: "prj_conformance",
  };
  const server = await startVercelServer(options);
  return {
    target: {
      adapter: vercelProvider({ fetch: server.fetch }),
      computeId: "provider_vercel",
      credentials: {
        vercel_token: options.token,
        vercel_team_id: options.teamId,
        vercel_project_id: options.projectId,
      },
    },
    close: () => server.close(),
  };
});
