import { type PlotOptions, plot } from "@observablehq/plot";
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

/** Width and height in CSS pixels. */
export interface Size {
  width: number;
  height: number;
}

/**
 * Draws a plot in an element, at the element's size.
 *
 * @param inputs values that the plot depends on: a change of one of them draws it again
 * @returns the size of the element, once it is known
 */
export function useFigure(
  container: RefObject<HTMLElement | null>,
  options: (size: Size) => PlotOptions,
  inputs: readonly unknown[],
): Size | undefined {
  const [size, setSize] = useState<Size>();
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setSize(contentRect));
    observer.observe(container.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!size) return;
    const { width, height } = size;
    container.current!.replaceChildren(plot({ ...options(size), width, height }));
  }, [size, ...inputs]);
  return size;
}
