import { createStore, useStore } from "./store.js";

export type Theme = "system" | "light" | "dark";
const KEY = "cerver.theme";

const theme = createStore<Theme>(kept());
export const useTheme = () => useStore(theme);

/** Shows a theme, and keeps the choice in this browser. public/theme.js shows it before the first paint. */
export function setTheme(chosen: Theme): void {
  theme.set(chosen);
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing shows it until the page is left.
  }
}

function kept(): Theme {
  const shown = document.documentElement.dataset.theme;
  return shown === "light" || shown === "dark" ? shown : "system";
}
