import { setTheme, type Theme, useTheme } from "../theme.js";

const THEMES: readonly [Theme, string][] = [
  ["system", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function ThemeSwitch() {
  const theme = useTheme();
  return (
    <fieldset className="flex rounded-md border border-line p-0.5 text-xs">
      <legend className="sr-only">Theme</legend>
      {THEMES.map(([value, name]) => (
        <label
          key={value}
          className={`flex-1 cursor-pointer rounded px-1.5 py-0.5 text-center has-focus-visible:outline-2 has-focus-visible:outline-accent ${theme === value ? "bg-raised text-text" : "text-soft hover:text-text"}`}
        >
          <input
            type="radio"
            name="theme"
            className="sr-only"
            checked={theme === value}
            onChange={() => setTheme(value)}
          />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
