import { Command } from "commander";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION } from "../options.js";
import { mcpInstallCommand } from "./mcp-install.js";

export const mcpCommand = (context: CliContext) =>
  new Command("mcp")
    .summary("serve sessions and secrets to an agent over MCP")
    .description(
      "Serves the Model Context Protocol on stdin and stdout: agents read sessions and fetch secrets. Agents start it; people configure it.",
    )
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample, for Claude Code:\n  $ cerver mcp install --client claude-code")
    .addCommand(mcpInstallCommand(context))
    .action(async (options: { gateway?: string }) => {
      const { serveMcp } = await import("../serve-mcp.js");
      await serveMcp(context, options.gateway);
    });
