import { type PlotOptions, plot } from "@observablehq/plot";
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

/** In CSS pixels. */
export interface Size {
  width: number;
  height: number;
}

/** Keeps a drawing of the plot library in an element, of its size; it is drawn once that is known. Returns the size. */
export function useFigure(
  place: RefObject<HTMLElement | null>,
  options: (size: Size) => PlotOptions,
): Size | undefined {
  const [size, setSize] = useState<Size>();
  useEffect(() => {
    const observer = new ResizeObserver(
      ([
        {
          contentRect: { width, height },
        },
      ]) => setSize({ width, height }),
    );
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (size) place.current!.replaceChildren(plot({ ...options(size), ...size }));
  });
  return size;
}
