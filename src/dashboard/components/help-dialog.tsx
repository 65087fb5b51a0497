import { useShortcuts } from "../keyboard.js";
import { Dialog } from "./dialog.js";

/** The keys that do something where the person is. */
export function HelpDialog({ onClose }: { onClose: () => void }) {
  const shortcuts = new Map(useShortcuts().map(({ keys, does }) => [keys, does]));
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2">
        {[...shortcuts].map(([keys, does]) => (
          <div key={keys} className="contents">
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key} className="mr-1 rounded border border-line bg-raised px-1.5 py-0.5">
                  {key}
                </kbd>
              ))}
            </dt>
            <dd className="text-soft">{does}</dd>
          </div>
        ))}
        <dt>
          <kbd className="rounded border border-line bg-raised px-1.5 py-0.5">Esc</kbd>
        </dt>
        <dd className="text-soft">Close what is open</dd>
      </dl>
    </Dialog>
  );
}
