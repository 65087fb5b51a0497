import { useState } from "react";
import { toast } from "./toast.js";

/** A command, or another text to take along, with a button that copies it. */
export function CopyCommand({ text, label = "command" }: { text: string; label?: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 2_000);
      toast(`The ${label} is in the clipboard.`);
    } catch {
      toast("This browser does not let the page copy. Select the text instead.", "bad");
    }
  };
  return (
    <div className="flex items-stretch overflow-hidden rounded-md border border-line bg-raised">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keyboard */}
      <pre tabIndex={0} className="min-w-0 flex-1 overflow-x-auto px-3 py-2">
        <code>{text}</code>
      </pre>
      <button
        type="button"
        onClick={() => void copy()}
        aria-label={`Copy the ${label}`}
        className="shrink-0 border-line border-l bg-surface px-3 text-soft text-sm hover:text-text"
      >
        {isCopied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}
