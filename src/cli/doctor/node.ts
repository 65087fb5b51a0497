import type { Probe } from "./probe.js";

/** The oldest Node that cerver runs on, as package.json has it. */
const OLDEST = [20, 19] as const;

export const nodeProbe: Probe = {
  name: "node",
  async run({ cli: { process } }) {
    const what = `Node.js ${process.versions.node}, ${process.execPath}`;
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return { status: "ok", what };
    return {
      status: "fail",
      what: `${what} is older than ${OLDEST.join(".")}`,
      fix: "Install a current one from https://nodejs.org.",
    };
  },
};
