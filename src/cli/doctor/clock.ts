import type { Probe } from "./probe.js";

/** The header has whole seconds and the network takes its time: less is no difference. */
const WORTH_A_WORD_MS = 30_000;
/** Past this, tokens, certificates and links that are signed end at the wrong time. */
const TOO_FAR_MS = 300_000;

const SET_CLOCK: Partial<Record<NodeJS.Platform, string>> = {
  darwin: "sudo sntp -sS time.apple.com",
  win32: "w32tm /resync",
};

/** This machine's clock beside the gateway's. */
export const clockProbe: Probe = {
  name: "clock",
  needs: ["connection"],
  async run({ health, cli: { process } }) {
    const { behindMs } = await health();
    if (behindMs === undefined)
      return { status: "skipped", what: "the gateway's answer has no Date to compare with" };
    const off = Math.abs(behindMs);
    if (off < WORTH_A_WORD_MS)
      return { status: "ok", what: "this machine and the gateway agree on the time" };
    return {
      status: off < TOO_FAR_MS ? "warn" : "fail",
      what: `this machine's clock is ${inWords(off)} ${behindMs > 0 ? "behind" : "ahead of"} the gateway's`,
      fix: `Set the one that is wrong; here: ${SET_CLOCK[process.platform] ?? "sudo timedatectl set-ntp true"}`,
    };
  },
};

function inWords(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
