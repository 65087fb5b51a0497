import { useState } from "react";
import { signOut } from "../api.js";
import { useShortcut } from "../keyboard.js";
import { PAGES, type Page } from "../pages/index.js";
import { go, href } from "../router.js";
import { ThemeSwitch } from "./theme-switch.js";

/** The pages, beside the content or, on a phone, behind a button above it. */
export function Navigation({ current, onHelp }: { current: string; onHelp: () => void }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <header className="flex shrink-0 flex-col border-line border-b bg-surface md:w-48 md:border-r md:border-b-0">
      <div className="flex items-center justify-between px-3 py-2.5">
        <a href={href("sessions")} className="flex items-center gap-2 font-semibold tracking-tight">
          <img src="./icon.svg" alt="" width="20" height="20" />
          cerver
        </a>
        <button
          type="button"
          className="rounded-md border border-line px-2.5 py-1 md:hidden"
          aria-expanded={isOpen}
          aria-controls="navigation"
          onClick={() => setOpen(!isOpen)}
        >
          Menu
        </button>
      </div>
      <div
        id="navigation"
        className={`${isOpen ? "flex" : "hidden"} min-h-0 flex-1 flex-col justify-between gap-4 overflow-y-auto px-2 pb-3 md:flex`}
      >
        <nav aria-label="Pages" className="flex flex-col gap-px">
          {PAGES.map((page) => (
            <NavigationLink
              key={page.name}
              page={page}
              isCurrent={page.name === current}
              onFollow={() => setOpen(false)}
            />
          ))}
        </nav>
        <div className="flex flex-col gap-2 px-1">
          <ThemeSwitch />
          <div className="flex items-center justify-between text-sm">
            <button type="button" className="text-soft hover:text-text" onClick={onHelp}>
              Keys <kbd className="rounded border border-line px-1">?</kbd>
            </button>
            <button type="button" className="text-soft hover:text-text" onClick={() => void signOut()}>
              Sign out
            </button>
          </div>
        </div>
      </div>
    </header>
  );
}

function NavigationLink({
  page,
  isCurrent,
  onFollow,
}: {
  page: Page;
  isCurrent: boolean;
  onFollow: () => void;
}) {
  useShortcut(`g ${page.key}`, `Go to ${page.title}`, () => go(href(page.name)));
  return (
    <a
      href={href(page.name)}
      aria-current={isCurrent ? "page" : undefined}
      onClick={onFollow}
      className={`rounded-md px-2 py-1.5 ${isCurrent ? "bg-accent-tint font-medium text-accent" : "text-soft hover:bg-raised hover:text-text"}`}
    >
      {page.title}
    </a>
  );
}
