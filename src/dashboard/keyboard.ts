import { useEffect, useRef } from "react";
import { createStore, useStore } from "./store.js";

export interface Shortcut {
  /** `j`, `?`, `Escape`, or two one after the other: `g s`. */
  keys: string;
  /** What the help says that it does. */
  does: string;
  run: () => void;
}

/** How long the second key of two may take. */
const SECOND_KEY_MS = 1_200;

const shortcuts = createStore<readonly Shortcut[]>([]);
/** What is there now, for the help. */
export const useShortcuts = () => useStore(shortcuts);

/** Has a key do something while the component is there. The newest of two with the same keys counts. */
export function useShortcut(keys: string, does: string, run: () => void): void {
  const latest = useRef(run);
  latest.current = run;
  useEffect(() => {
    const mine: Shortcut = { keys, does, run: () => latest.current() };
    shortcuts.set([...shortcuts.get(), mine]);
    return () => shortcuts.set(shortcuts.get().filter((one) => one !== mine));
  }, [keys, does]);
}

/** Listens to the keyboard until the returned function is called. */
export function listenToKeys(): () => void {
  let first = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event)) return;
    const keys = first ? `${first} ${event.key}` : event.key;
    first = "";
    clearTimeout(timer);
    const all = shortcuts.get();
    const found = all.findLast((one) => one.keys === keys);
    if (found) {
      event.preventDefault();
      found.run();
    } else if (all.some((one) => one.keys.startsWith(`${event.key} `))) {
      first = event.key;
      timer = setTimeout(() => {
        first = "";
      }, SECOND_KEY_MS);
    }
  };
  document.addEventListener("keydown", onKey);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("keydown", onKey);
  };
}

/** Letters that go into a field, or to a dialog that is open, are no shortcuts. */
function isTyping({ target }: KeyboardEvent): boolean {
  if (document.querySelector("dialog[open]")) return true;
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) ||
      target.closest(".xterm") !== null)
  );
}
