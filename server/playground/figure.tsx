import { type PlotOptions, plot } from "@observablehq/plot";
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

/** In CSS pixels. */
export interface Size {
  width: number;
  height: number;
}

/**
 * Keeps a drawing of the plot library in an element, of its size, once that is known.
 *
 * @param inputs what it is made of: it is drawn again when one of them is another
 * @returns the size
 */
export function useFigure(
  place: RefObject<HTMLElement | null>,
  options: (size: Size) => PlotOptions,
  inputs: readonly unknown[],
): Size | undefined {
  const [size, setSize] = useState<Size>();
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setSize(contentRect));
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!size) return;
    const { width, height } = size;
    place.current!.replaceChildren(plot({ ...options(size), width, height }));
  }, [size, ...inputs]);
  return size;
}
