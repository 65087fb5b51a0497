import { cloudflareProvider } from "../../src/gateway/compute/providers/cloudflare.js";
import { describeProvider } from "../provider-conformance.js";
import { startCloudflareBridge } from "./cloudflare-bridge.js";

describeProvider("cloudflare", async () => {
  const vendor = await startCloudflareBridge();
  return {
    target: {
      adapter: cloudflareProvider(),
      computeId: "provider_cloudflare",
      credentials: { cloudflare_sandbox_url: vendor.url, cloudflare_sandbox_key: vendor.key },
    },
    close: () => vendor.close(),
  };
});
