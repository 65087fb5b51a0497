import type { ButtonHTMLAttributes } from "react";

const LOOK = {
  plain: "border-line bg-surface hover:bg-raised",
  main: "border-transparent bg-accent-fill text-white hover:opacity-90",
  danger: "border-line bg-surface text-bad hover:bg-bad-tint",
} as const;

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: keyof typeof LOOK;
  /** Shows that it is at work, and takes no second click. */
  busy?: boolean;
}

export function Button({
  look = "plain",
  busy = false,
  disabled,
  children,
  className = "",
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      className={`inline-flex items-center gap-1.5 whitespace-nowrap rounded-md border px-3 py-1.5 font-medium disabled:cursor-default disabled:opacity-60 ${LOOK[look]} ${className}`}
    >
      {children}
      {busy && <span aria-hidden>…</span>}
    </button>
  );
}
