import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { describeProvider } from "./provider-conformance.js";
import { startE2bServer } from "./vendors/e2b-server.js";

const KEY = "e2b_00000000000000000000000000000000conformance";

describeProvider("E2B", async () => {
  const server = await startE2bServer({ apiKey: KEY });
  const { apiUrl, sandboxUrl } = server;
  return {
    target: {
      adapter: e2bProvider({ apiUrl, sandboxUrl }),
      computeId: "provider_e2b",
      credentials: { e2b_api_key: KEY },
    },
    close: () => server.close(),
  };
});
