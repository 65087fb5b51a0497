import { Suspense, useEffect, useRef, useState } from "react";
import { ErrorBoundary } from "./components/error-boundary.js";
import { HelpDialog } from "./components/help-dialog.js";
import { LinkBar } from "./components/link-bar.js";
import { Loading } from "./components/loading.js";
import { Navigation } from "./components/navigation.js";
import { ScrollerContext } from "./components/virtual-list.js";
import { useShortcut } from "./keyboard.js";
import { keepListening } from "./live.js";
import { PAGES } from "./pages/index.js";
import { NotFoundPage } from "./pages/not-found.js";
import { useRoute } from "./router.js";

/** Everything around a page: navigation, the bar that says that the gateway is gone, help. */
export function Shell() {
  const { page: name, rest, query } = useRoute();
  const [isHelpOpen, setHelpOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const page = PAGES.find((one) => one.name === name);
  const Page = page?.Page ?? NotFoundPage;
  useEffect(keepListening, []);
  useShortcut("?", "Show the keys", () => setHelpOpen(true));
  useEffect(() => {
    document.title = `${page?.title ?? "Not here"} · cerver`;
  }, [page]);
  const place = [name, ...rest].join("/");
  // Another place begins at its top. What scrollTo gives in newer browsers is no clean-up.
  useEffect(() => void main.current?.scrollTo(0, 0), [place]);
  return (
    <div className="flex h-full flex-col md:flex-row">
      <button
        type="button"
        onClick={() => main.current?.focus()}
        className="sr-only focus:not-sr-only focus:absolute focus:z-20 focus:bg-surface focus:p-2"
      >
        Skip to the content
      </button>
      <Navigation current={name} onHelp={() => setHelpOpen(true)} />
      <main
        ref={main}
        id="main"
        tabIndex={-1}
        className="min-h-0 min-w-0 flex-1 overflow-y-auto outline-none"
      >
        <LinkBar />
        <ScrollerContext value={main}>
          <ErrorBoundary key={place}>
            <Suspense fallback={<Loading what={page?.title ?? "the page"} />}>
              <Page rest={rest} query={query} />
            </Suspense>
          </ErrorBoundary>
        </ScrollerContext>
      </main>
      {isHelpOpen && <HelpDialog onClose={() => setHelpOpen(false)} />}
    </div>
  );
}
