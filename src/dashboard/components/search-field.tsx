import { useRef } from "react";
import { useShortcut } from "../keyboard.js";

/** Where `/` leads. Escape empties it, and then leaves it. */
export function SearchField({
  label,
  value,
  onChange,
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
}) {
  const input = useRef<HTMLInputElement>(null);
  useShortcut("/", "Search", () => input.current?.focus());
  return (
    <input
      ref={input}
      type="search"
      aria-label={label}
      placeholder={`${label}  /`}
      value={value}
      maxLength={512}
      onChange={(event) => onChange(event.target.value)}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        if (value) onChange("");
        else event.currentTarget.blur();
      }}
      className="w-full min-w-40 max-w-sm rounded-md border border-line bg-surface px-2.5 py-1.5 placeholder:text-soft sm:w-64"
    />
  );
}
