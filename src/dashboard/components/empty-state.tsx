import type { ReactNode } from "react";

/** Nothing is there: why, and what to do next. */
export function EmptyState({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="mx-auto flex max-w-xl flex-col items-stretch gap-3 px-4 py-12">
      <h2 className="text-center font-medium text-lg">{title}</h2>
      {children}
    </div>
  );
}
