import { join } from "node:path";
import { DirectLink } from "../src/gateway/compute/direct-link.js";
import { p69Provider } from "../src/gateway/compute/providers/p69.js";
import { DEFAULT_MAX_TREE_BYTES } from "../src/protocol/tree.js";
import { createComputeApp } from "../src/relay/compute-app.js";
import { relayConfig } from "../src/relay/config.js";
import { hostEnvironment } from "../src/relay/host/environment.js";
import { Sandboxes } from "../src/relay/host/sandboxes.js";
import { Trees } from "../src/relay/host/trees.js";
import { KeeperClient } from "../src/relay/keeper-client.js";
import { RunEnds } from "../src/relay/run-ends.js";
import { RunSecrets } from "../src/relay/run-secrets.js";
import { startListening } from "../src/relay/start.js";
import { silentLogger } from "../src/util/logger.js";

/** This host's surface as a compute, with a real keeper, and no gateway. */
export async function openCompute(
  stateDir: string,
  env: Record<string, string>,
  {
    maxRuns = 8,
    maxTreeBytes = DEFAULT_MAX_TREE_BYTES,
    allowDirs = [] as string[],
    treeIdleMs = 15 * 60_000,
  } = {},
) {
  const hostEnv = hostEnvironment({ PATH: process.env.PATH!, ...env }, []);
  const sandboxes = await Sandboxes.open({ stateDir, hostEnv, allowDirs });
  const trees = await Trees.open({
    sandboxes,
    stateDir,
    maxBytes: maxTreeBytes,
    logger: silentLogger,
    idleMs: treeIdleMs,
  });
  const ends = new RunEnds();
  const keeper = new KeeperClient({
    stateDir,
    env: hostEnv,
    maxRuns,
    runGraceMs: 2_000,
    killGraceMs: 300,
    logger: silentLogger,
    onEnded: ({ run_id }) => ends.add(run_id),
  });
  const app = createComputeApp({
    sandboxes,
    trees,
    keeper,
    ends,
    facts: { hostname: "h", capabilities: {}, metadata: {} },
    label: "h",
    secrets: new RunSecrets(hostEnv, silentLogger),
    redact: "all",
    logger: silentLogger,
  });
  const close = async () => {
    await keeper.endAll();
    await trees.close();
  };
  return { app, sandboxes, trees, keeper, close };
}

/** This host as a compute that listens, and the adapter that reaches it over HTTP, as a gateway with P69_BASE_URL does. */
export async function openListening(folder: string) {
  const relay = await startListening(
    relayConfig(
      {
        listen: "0",
        maxRuns: 32,
        graceMs: 300,
        stateDir: join(folder, "state"),
        configDir: join(folder, "config"),
      },
      { PATH: process.env.PATH, HOME: folder },
    ),
    { hasDisplay: false, logger: silentLogger },
  );
  const link = new DirectLink({ baseUrl: relay.url, token: relay.token });
  return {
    adapter: p69Provider(
      (_, request) => link.fetch(request),
      (_, call) => link.call(call),
    ),
    url: relay.url,
    token: relay.token,
    close: async () => {
      link.close();
      await relay.stop();
    },
  };
}
