import {
  createContext,
  type ReactNode,
  type Ref,
  type RefObject,
  useContext,
  useImperativeHandle,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { useShortcut } from "../keyboard.js";

/** The element that scrolls, around every page. */
export const ScrollerContext = createContext<RefObject<HTMLElement | null>>({ current: null });

/** Pixels above and below what is seen that are rendered too. */
const OVERSCAN = 400;

export interface VirtualListHandle {
  /** Brings a row into view. */
  scrollTo(index: number, align?: "start" | "nearest"): void;
}

export interface VirtualListProps<T> {
  items: readonly T[];
  keyOf: (item: T) => string;
  /** Pixels that a row is high before it has been measured. */
  estimate: number;
  /** What has `data-row` in it gets the focus by `j` and `k`. */
  render: (item: T, index: number) => ReactNode;
  label: string;
  /** Is called when the last rows come into view. */
  onEnd?: (() => void) | undefined;
  ref?: Ref<VirtualListHandle>;
}

/**
 * A list of which only what is seen is in the document: thousands of rows scroll as a few do. Rows may be of any height;
 * each is measured when it is shown, and what changes above the view does not move it.
 */
export function VirtualList<T>({ items, keyOf, estimate, render, label, onEnd, ref }: VirtualListProps<T>) {
  const scroller = useContext(ScrollerContext);
  const list = useRef<HTMLUListElement>(null);
  const sizes = useRef(new Map<string, number>());
  const [version, setVersion] = useState(0);
  const [view, setView] = useState({ top: 0, bottom: 1_000 });
  const focusNext = useRef<number | undefined>(undefined);
  const offsets = useMemo(() => {
    const all = new Float64Array(items.length + 1);
    for (const [index, item] of items.entries())
      all[index + 1] = all[index]! + (sizes.current.get(keyOf(item)) ?? estimate);
    return all;
  }, [items, estimate, version]);
  const latest = useRef({ items, offsets, keyOf });
  latest.current = { items, offsets, keyOf };

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    let frame = 0;
    const look = () => {
      frame = 0;
      const top = box.getBoundingClientRect().top - list.current!.getBoundingClientRect().top;
      setView({ top, bottom: top + box.clientHeight });
    };
    const soon = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    box.addEventListener("scroll", soon, { passive: true });
    const observer = new ResizeObserver(soon);
    observer.observe(box);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      box.removeEventListener("scroll", soon);
    };
  }, [scroller]);

  const measurer = useMeasurer((rows) => {
    const { items, offsets, keyOf } = latest.current;
    let above = 0;
    let changed = false;
    const top = scroller.current!.getBoundingClientRect().top - list.current!.getBoundingClientRect().top;
    for (const [index, height] of rows) {
      const item = items[index];
      if (item === undefined) continue;
      const before = offsets[index + 1]! - offsets[index]!;
      if (Math.abs(before - height) < 0.5) continue;
      sizes.current.set(keyOf(item), height);
      changed = true;
      if (offsets[index + 1]! <= top) above += height - before;
    }
    if (!changed) return;
    if (above !== 0) scroller.current!.scrollTop += above;
    setVersion((one) => one + 1);
  });

  const first = Math.max(0, indexAt(offsets, view.top - OVERSCAN));
  const last = Math.min(items.length - 1, indexAt(offsets, view.bottom + OVERSCAN));
  const isAtEnd = items.length > 0 && last === items.length - 1;
  useLayoutEffect(() => {
    if (isAtEnd) onEnd?.();
  }, [isAtEnd, items.length]);

  const scrollTo = (index: number, align: "start" | "nearest" = "nearest") => {
    const box = scroller.current;
    if (!box || !list.current) return;
    const listTop =
      list.current.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;
    const [top, bottom] = [listTop + offsets[index]!, listTop + offsets[index + 1]!];
    if (align === "start" || top < box.scrollTop) box.scrollTop = top - 8;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 8;
  };
  useImperativeHandle(ref, () => ({ scrollTo }));

  const focus = (index: number) => {
    const row = list.current?.querySelector<HTMLElement>(`[data-index="${index}"] [data-row]`);
    row?.focus({ preventScroll: true });
    return row !== undefined && row !== null;
  };
  useLayoutEffect(() => {
    if (focusNext.current !== undefined && focus(focusNext.current)) focusNext.current = undefined;
  });
  const move = (step: number) => {
    const at = document.activeElement?.closest<HTMLElement>("[data-index]");
    const current =
      at && list.current?.contains(at) ? Number(at.dataset.index) : step > 0 ? -1 : items.length;
    const next = Math.min(items.length - 1, Math.max(0, current + step));
    if (items.length === 0) return;
    scrollTo(next);
    if (!focus(next)) focusNext.current = next;
  };
  useShortcut("j", "Next row", () => move(1));
  useShortcut("k", "Previous row", () => move(-1));

  const shown = [];
  for (let index = first; index <= last; index++) {
    const item = items[index]!;
    shown.push(
      <li
        key={keyOf(item)}
        ref={measurer}
        data-index={index}
        aria-setsize={items.length}
        aria-posinset={index + 1}
        className="absolute inset-x-0"
        style={{ transform: `translateY(${offsets[index]}px)` }}
      >
        {render(item, index)}
      </li>,
    );
  }
  return (
    <ul ref={list} aria-label={label} className="relative" style={{ height: offsets[items.length] }}>
      {shown}
    </ul>
  );
}

/** Tells the heights of rows, whenever they change. Gives what a row takes as its `ref`. */
function useMeasurer(onSizes: (rows: [index: number, height: number][]) => void) {
  const latest = useRef(onSizes);
  latest.current = onSizes;
  const observer = useRef<ResizeObserver>(undefined);
  return useMemo(
    () => (row: HTMLElement | null) => {
      if (!row) return;
      observer.current ??= new ResizeObserver((entries) =>
        latest.current(
          entries
            .filter(({ target }) => target.isConnected)
            .map(({ target }) => [
              Number((target as HTMLElement).dataset.index),
              target.getBoundingClientRect().height,
            ]),
        ),
      );
      const watching = observer.current;
      watching.observe(row);
      return () => watching.unobserve(row);
    },
    [],
  );
}

/** The row that a height falls into. */
function indexAt(offsets: Float64Array, height: number): number {
  let [low, high] = [0, offsets.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsets[middle + 1]! <= height) low = middle + 1;
    else high = middle;
  }
  return low;
}
