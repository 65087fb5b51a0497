import { type ReactNode, useEffect, useId, useRef } from "react";
import { Button } from "./button.js";

/** A question or a form above the page. Escape and a click beside it close it; the focus stays inside, and goes back. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const before = document.activeElement;
    const shown = dialog.current;
    shown?.showModal();
    return () => {
      shown?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape is the dialog's own way to close it
    <dialog
      ref={dialog}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
      className="w-full max-w-lg rounded-lg border border-line bg-surface p-0 backdrop:bg-[rgb(0_0_0/0.45)]"
    >
      <div className="flex flex-col gap-4 p-5">
        <h2 id={titleId} className="font-semibold text-lg">
          {title}
        </h2>
        {children}
      </div>
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function ConfirmDialog({
  title,
  verb,
  busy = false,
  onConfirm,
  onClose,
  children,
}: {
  title: string;
  /** The word on the button that does it. */
  verb: string;
  busy?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="text-soft">{children}</div>
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Keep</Button>
        <Button look="danger" busy={busy} onClick={onConfirm}>
          {verb}
        </Button>
      </div>
    </Dialog>
  );
}
