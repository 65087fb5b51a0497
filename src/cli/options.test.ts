import { Command } from "commander";
import { expect, test } from "vitest";
import { relayConfig } from "../relay/config.js";
import { addComputeOptions, computeSettings } from "./options.js";

const configured = (...args: string[]) => {
  const command = addComputeOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }));
  return relayConfig(computeSettings(command.parse(args, { from: "user" }).opts()), { HOME: "/home/me" });
};

test("what a command says about this machine is how its relay runs", () => {
  expect(
    configured(
      ...["--name", "mine", "--max-runs", "3", "--max-folder", "4096"],
      ...["--allow-dir", "/a", "--allow-dir", "/b", "--allow-env", "A"],
    ),
  ).toMatchObject({
    name: "mine",
    maxRuns: 3,
    maxTreeBytes: 4 * 1024 ** 3,
    allowDirs: ["/a", "/b"],
    allowEnv: ["A"],
  });
  expect(configured()).toMatchObject({
    maxRuns: 128,
    maxTreeBytes: 2 * 1024 ** 3,
    allowDirs: [],
    allowEnv: [],
  });
  for (const wrong of ["0", "2GiB", "1048577"])
    expect(() => configured("--max-folder", wrong)).toThrow("1048576");
});
