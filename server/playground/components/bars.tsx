import type { ComponentChildren } from "preact";
import { signed } from "./format.ts";

export interface Bar {
  key: string | number;
  label: ComponentChildren;
  value: number;
  note?: ComponentChildren;
}

/** A bar chart. The bars extend to both sides of a common zero if values of both signs occur. */
export function Bars({
  bars,
  label,
  format = signed,
}: {
  bars: readonly Bar[];
  label: string;
  format?: (value: number) => string;
}) {
  const largest = Math.max(...bars.map(({ value }) => Math.abs(value)), 1e-9);
  const isSigned = bars.some(({ value }) => value < 0) && bars.some(({ value }) => value > 0);
  return (
    <ul class={isSigned ? "bars signed" : "bars"} aria-label={label}>
      {bars.map(({ key, label, value, note }) => (
        <li key={key}>
          <span class="label">{label}</span>
          <span class="track">
            <i
              class={value < 0 ? "minus" : "plus"}
              style={{ "--size": (Math.abs(value) / largest).toFixed(3) }}
            />
          </span>
          <span class="value">{format(value)}</span>
          {note && <span class="note">{note}</span>}
        </li>
      ))}
    </ul>
  );
}
