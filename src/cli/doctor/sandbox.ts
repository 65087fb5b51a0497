import { userInfo } from "node:os";
import type { Probe } from "./probe.js";

/** What confines the runs of this machine. */
export const sandboxProbe: Probe = {
  name: "sandbox",
  needs: ["relay"],
  async run({ cli: { process } }) {
    const what = `runs are not confined: they may do what ${userName()} may do here`;
    if (process.getuid?.() !== 0) return { status: "ok", what };
    return { status: "warn", what, fix: "Run the relay as a user of its own, not as root." };
  },
};

/** A container's user may have no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "this user";
  }
}
