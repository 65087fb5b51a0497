import { access } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { clientStatuses, type OurServer } from "../../mcp-clients/status.js";
import { thisMachine } from "../commands/mcp-install.js";
import type { Probe } from "./probe.js";

/** Whether agents on this machine can start the cerver that their settings name. */
export const mcpClientsProbe: Probe = {
  name: "mcp clients",
  async run({ cli }) {
    const clients = await clientStatuses(thisMachine(cli));
    const problems: { what: string; fix: string }[] = [];
    for (const { client, label, places } of clients) {
      for (const { file, scope, problem, servers } of places) {
        if (problem) problems.push({ what: problem.error, fix: problem.hint ?? `Mend ${file}.` });
        for (const server of servers) {
          const again = mend(client, scope, file, server);
          const missing = await missingFile(server);
          if (missing) problems.push({ what: `${label} starts ${missing}, which is not there`, fix: again });
          if (server.holds_token)
            problems.push({
              what: `${label} has a token in plain text in ${file}`,
              fix: server.url
                ? `Let the client log in by itself, then take the header out of ${file}`
                : `cerver login, then ${again}`,
            });
        }
      }
    }
    if (problems.length > 0) {
      return {
        status: "warn",
        what: problems.map(({ what }) => what).join("; "),
        fix: [...new Set(problems.map(({ fix }) => fix))].join("; "),
      };
    }
    const having = clients.filter(({ places }) => places.some(({ servers }) => servers.length > 0));
    if (having.length > 0)
      return { status: "ok", what: `${having.map(({ label }) => label).join(", ")} can start cerver` };
    const found = clients.filter((one) => one.found);
    if (found.length === 0) return { status: "skipped", what: "no MCP client is on this machine" };
    return {
      status: "skipped",
      what: `${found.map(({ label }) => label).join(", ")} can have cerver: cerver mcp install --client ${found[0]!.client}`,
    };
  },
};

/** What to type. A name out of a project's file is whatever somebody wrote there, and no word of a command. */
function mend(client: string, scope: string, file: string, { name, url }: OurServer): string {
  if (url !== undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(name)) return `mend it in ${file}`;
  const shared = scope === "project" ? " --portable" : "";
  return `cerver mcp install --client ${client} --scope ${scope} --name ${name}${shared}`;
}

/** What a client would start in vain. */
async function missingFile({ command = [] }: OurServer): Promise<string | undefined> {
  for (const file of command.slice(0, 2).filter(isAbsolute)) {
    const isThere = await access(file).then(
      () => true,
      () => false,
    );
    if (!isThere) return file;
  }
  return undefined;
}
