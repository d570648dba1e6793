import type { ComponentChildren } from "preact";

export interface Bar {
  key: string | number;
  label: ComponentChildren;
  value: number;
  note?: ComponentChildren;
}

/** Bars from a common zero, to either side where there are negative ones. */
export function Bars({
  bars,
  label,
  format = signed,
}: {
  bars: readonly Bar[];
  label: string;
  format?: (value: number) => string;
}) {
  const most = Math.max(...bars.map(({ value }) => Math.abs(value)), 1e-9);
  const isSigned = bars.some(({ value }) => value < 0) && bars.some(({ value }) => value > 0);
  return (
    <ul class={isSigned ? "bars signed" : "bars"} aria-label={label}>
      {bars.map(({ key, label, value, note }) => (
        <li key={key}>
          <span class="label">{label}</span>
          <span class="track">
            <i
              class={value < 0 ? "minus" : "plus"}
              style={{ "--size": (Math.abs(value) / most).toFixed(3) }}
            />
          </span>
          <span class="value">{format(value)}</span>
          {note && <span class="note">{note}</span>}
        </li>
      ))}
    </ul>
  );
}

/** With a sign that is as wide as the other. */
export const signed = (x: number, digits = 2): string => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;
