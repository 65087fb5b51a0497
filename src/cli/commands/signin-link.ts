import { Command } from "commander";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION } from "../options.js";

export const signinLinkCommand = (context: CliContext) =>
  new Command("signin-link")
    .summary("print a one-time link that signs a browser in to the web page")
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver signin-link")
    .action(async ({ gateway }: { gateway?: string }) => {
      context.out.line(await (await context.client(gateway)).createSigninLink());
      context.out.say("It works once, for ten minutes.");
    });
