import { Command } from "commander";
import type { PortList } from "../../protocol/ports.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, seconds, wholeNumber } from "../options.js";
import type { Output } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface PortOptions {
  expires?: number;
  open?: boolean;
  json?: boolean;
  gateway?: string;
}

export const portCommand = (context: CliContext) =>
  new Command("port")
    .summary("print a link to a server that runs in a session")
    .description(
      "Prints a link that shows a port of a session to whoever has it, until it expires. Without a port it lists what listens in the session.",
    )
    .argument("<session-id>", "the session, or the beginning of its id")
    .argument("[port]", "the port that a process of the session listens on", wholeNumber(1, 65_535))
    .option(
      "--expires <time>",
      "how long the link works, such as 30m or 2h (default: 1h, at most 168h)",
      seconds,
    )
    .option("--open", "show it in the browser as well")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExample:\n  $ cerver run -d --session sess_01a2 'npx serve -l 3000'\n  $ cerver port sess_01a2 3000 --expires 2h --open",
    )
    .action(async (id: string, port: number | undefined, { expires, open, json, gateway }: PortOptions) => {
      const { out, env } = context;
      const client = await context.client(gateway);
      const session = await resolveSession(client, id);
      if (port === undefined) {
        const ports = await client.ports(session);
        if (json) return out.json({ ports });
        return list(out, ports);
      }
      const link = await client.linkPort(session, port, {
        ...(expires !== undefined && { expires_in: Math.max(1, Math.round(expires)) }),
      });
      if (json) out.json(link);
      else {
        out.line(link.url);
        if (link.expires_at !== null)
          out.say(`Whoever has this link sees the port until ${link.expires_at}.`);
      }
      if (!open) return;
      const { openBrowser } = await import("../../login/open-browser.js");
      if (!(await openBrowser(link.url, env)))
        out.say("There is no browser to open here: open the link yourself.");
    });

function list(out: Output, ports: PortList["ports"]): void {
  if (ports.length === 0) return out.say("Nothing of this session listens on a port.");
  out.table(
    ["PORT", "ADDRESS", "PID", "COMMAND"],
    ports.map(({ port, address, pid, command }) => [String(port), address, String(pid), command]),
  );
}
