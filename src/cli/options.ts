import { resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { durationMs } from "../util/duration.js";

/** A whole number within bounds, for an option. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It has to be a whole number from ${min} to ${max}.`);
  };
}

export const port = wholeNumber(0, 65_535);

/** A time such as `30`, `30s`, `5m` or `1h`, in seconds. */
export function seconds(text: string): number {
  const ms = durationMs(text);
  if (ms) return ms / 1000;
  throw new InvalidArgumentError("It has to be a time such as 30s, 5m or 1h.");
}

/** For an option that may be given again and again. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Like {@link collect}, for folders. */
function collectFolders(value: string, before: string[] = []): string[] {
  return [...before, resolve(value)];
}

/** Like {@link collect}, for NAME=VALUE. */
export function collectVariables(value: string, before: Record<string, string> = {}): Record<string, string> {
  const at = value.indexOf("=");
  if (at <= 0) throw new InvalidArgumentError("It has to be NAME=VALUE.");
  return { ...before, [value.slice(0, at)]: value.slice(at + 1) };
}

/** What every command that speaks to a gateway takes. */
export const GATEWAY_OPTION = [
  "--gateway <url>",
  "the gateway to speak to (else CERVER_GATEWAY_URL, .cerver.json, your settings)",
] as const;
export const JSON_OPTION = ["--json", "print JSON"] as const;

/** For what reads entries: who has to have written them. */
export function minTrustOption(): Option {
  return new Option("--min-trust <source>", "only entries of this source and of more trusted ones").choices([
    "user",
    "own_tool",
    "model",
    "external",
  ]);
}

/** What a command takes that makes this machine a compute. */
export interface ComputeOptions {
  name?: string;
  maxRuns?: number;
  maxFolder?: number;
  allowDir?: string[];
  allowEnv?: string[];
  label?: Record<string, string>;
}

/** Adds the options of {@link ComputeOptions} to a command. */
export function addComputeOptions(command: Command): Command {
  return command
    .option("--name <name>", "what this machine is called (default: its host name)")
    .option(
      "--max-runs <count>",
      "how many runs may be under way at once (default: 128)",
      wholeNumber(1, 10_000),
    )
    .option(
      "--max-folder <MiB>",
      "how much a working folder may hold that is moved to or from this machine (default: 2048)",
      wholeNumber(1, 1_048_576),
    )
    .option(
      "--allow-dir <folder>",
      "let sessions choose to work in this folder; may be given again",
      collectFolders,
    )
    .option(
      "--allow-env <name>",
      "let runs see this variable although it looks secret; may be given again",
      collect,
    )
    .option(
      "--label <name=value>",
      "say this of the machine, so that sessions can choose it by it; may be given again",
      collectVariables,
    );
}

/** What {@link ComputeOptions} say, as a relay's configuration has it. */
export function computeSettings({ name, maxRuns, maxFolder, allowDir, allowEnv, label }: ComputeOptions) {
  return {
    name,
    maxRuns,
    maxTreeBytes: maxFolder && maxFolder * 1024 ** 2,
    allowDirs: allowDir,
    allowEnv,
    labels: label,
  };
}
