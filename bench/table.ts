import type { Ratio } from "./turns.js";

/** A number, or a word that says why there is none. */
export type Figure = number | string;
export const WHO = ["cerver", "bare", "openssh", "websocketd"] as const;
export type Who = (typeof WHO)[number];
/** Who is measured, and a query written by hand. */
const COLUMNS = [...WHO, "hand"] as const;
type Column = (typeof COLUMNS)[number];

export interface Line {
  /** The name that `--only` takes. */
  row: string;
  what: string;
  unit: string;
  figures: Partial<Record<Column, Figure>>;
  ratio?: Ratio;
  /** What is aimed at, in words. Nothing here judges. */
  target?: string;
}

const TITLES: Record<Column, string> = {
  cerver: "cerver",
  bare: "bare spawn",
  openssh: "OpenSSH",
  websocketd: "websocketd",
  hand: "by hand",
};

/** A column for each that has a figure. */
export function table(lines: readonly Line[]): string {
  const columns = COLUMNS.filter((column) => lines.some(({ figures }) => figures[column] !== undefined));
  const head = ["", "unit", ...columns.map((column) => TITLES[column]), "ratio", "target"];
  const cells = lines.map(({ what, unit, figures, ratio, target = "" }) => [
    what,
    unit,
    ...columns.map((column) => shown(figures[column])),
    ratio ? `${ratio.of.toFixed(2)} (${ratio.from.toFixed(2)} to ${ratio.to.toFixed(2)})` : "",
    target,
  ]);
  const all = [head, ...cells];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const isText = (column: number) => column < 2 || column === head.length - 1;
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
