import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { CliContext } from "../context.js";

export const completionCommand = (context: CliContext) =>
  new Command("completion")
    .summary("print a completion script for bash, zsh or fish")
    .argument("<shell>", "bash, zsh or fish")
    .addHelpText("after", "\nExample:\n  $ source <(cerver completion bash)")
    .action((shell: string, _options: unknown, command: Command) => {
      const verbs = command.parent!.commands.map((verb) => ({
        name: verb.name(),
        summary: verb.summary(),
        flags: verb.options
          .flatMap(({ long, short }) => [long, short])
          .filter((flag) => flag !== undefined && flag !== null),
      }));
      const script = SHELLS[shell];
      if (!script) {
        throw new CerverError("invalid_request", `There is no completion for the shell "${shell}".`, {
          hint: "Use bash, zsh or fish.",
        });
      }
      context.out.line(script(verbs));
    });

interface Verb {
  name: string;
  summary: string;
  flags: string[];
}

const SHELLS: Record<string, (verbs: Verb[]) => string> = {
  bash: (verbs) => `_cerver() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words="${verbs.map((verb) => verb.name).join(" ")}"
  case "\${COMP_WORDS[1]}" in
${verbs.map((verb) => `    ${verb.name}) [ "$COMP_CWORD" -gt 1 ] && words="${verb.flags.join(" ")}" ;;`).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _cerver cerver`,
  zsh: (verbs) => `#compdef cerver
_cerver() {
  if (( CURRENT == 2 )); then
    local -a verbs=(${verbs.map((verb) => `'${verb.name}:${verb.summary.replaceAll("'", "")}'`).join(" ")})
    _describe verb verbs
  else
    case "$words[2]" in
${verbs.map((verb) => `      ${verb.name}) compadd -- ${verb.flags.join(" ")} ;;`).join("\n")}
    esac
  fi
}
compdef _cerver cerver`,
  fish: (verbs) =>
    verbs
      .flatMap((verb) => [
        `complete -c cerver -n __fish_use_subcommand -a ${verb.name} -d '${verb.summary.replaceAll("'", "")}'`,
        ...verb.flags
          .filter((flag) => flag.startsWith("--"))
          .map(
            (flag) => `complete -c cerver -n '__fish_seen_subcommand_from ${verb.name}' -l ${flag.slice(2)}`,
          ),
      ])
      .join("\n"),
};
