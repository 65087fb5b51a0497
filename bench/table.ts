import type { Ratio } from "./turns.js";

/** A number, or a word that says why there is none. */
export type Figure = number | string;
export const WHO = ["cerver", "bare", "openssh", "websocketd"] as const;
export type Who = (typeof WHO)[number];

export interface Line {
  /** The name that `--only` takes. */
  row: string;
  what: string;
  unit: string;
  figures: Partial<Record<Who, Figure>>;
  ratio?: Ratio;
  /** What is aimed at, in words. Nothing here judges. */
  target?: string;
}

const TITLES: Record<Who, string> = {
  cerver: "cerver",
  bare: "bare spawn",
  openssh: "OpenSSH",
  websocketd: "websocketd",
};
const HEAD = ["", "unit", ...WHO.map((who) => TITLES[who]), "ratio", "target"];

export function table(lines: readonly Line[]): string {
  const cells = lines.map(({ what, unit, figures, ratio, target = "" }) => [
    what,
    unit,
    ...WHO.map((who) => shown(figures[who])),
    ratio ? `${ratio.of.toFixed(2)} (${ratio.from.toFixed(2)} to ${ratio.to.toFixed(2)})` : "",
    target,
  ]);
  const all = [HEAD, ...cells];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const isText = (column: number) => column < 2 || column === HEAD.length - 1;
  return all
    .map((row) =>
      row
        .map((cell, i) => (isText(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function shown(figure: Figure | undefined): string {
  if (typeof figure !== "number") return figure ?? "";
  if (figure !== 0 && Math.abs(figure) < 100) return figure.toFixed(2);
  return String(Math.round(figure));
}
