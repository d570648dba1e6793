import { useRef, useState } from "preact/hooks";
import type { ViewProps } from "../components/view-props.ts";
import { isForPrompt, newRackItem, type RackItem } from "../state/rack.ts";
import { state, update, updateRackItem } from "../state/state.ts";
import { Band } from "./band.tsx";
import { Controls } from "./intervention-controls.tsx";

/** Name and range of the slider that sets the amount. */
function sliderOf({ op, unit }: RackItem) {
  if (op === "set") return { name: "Value", min: -10, max: 10, step: 0.1 };
  if (op === "scale") return { name: "Factor", min: -2, max: 4, step: 0.05 };
  if (unit === "raw") return { name: "Strength", min: -4, max: 4, step: 0.05 };
  if (unit === "sigma") return { name: "Strength", min: -12, max: 12, step: 0.25 };
  return { name: "Strength", min: -0.3, max: 0.3, step: 0.01 };
}

const hasAmount = ({ op }: RackItem): boolean => op !== "ablate" && op !== "swap";

/** Interventions, in the order in which they are applied. The one that was used last shows its null band. */
export function InterventionList({ engine, info, failed }: ViewProps & { failed: boolean }) {
  const { rack } = state.value;
  const [used, setUsed] = useState(0);
  const hasBand = (item?: RackItem) => item?.on && hasAmount(item) && isForPrompt(item);
  const active = hasBand(rack[used]) ? used : rack.findIndex(hasBand);
  const container = useRef<HTMLElement>(null);
  /** After the list is rendered again, focuses the button with this label in a given row. */
  const focus = (row: number, label: string) =>
    requestAnimationFrame(() => {
      const item = container.current?.querySelectorAll("li")[row] ?? container.current;
      const [first, ...others] = item?.querySelectorAll<HTMLButtonElement>("button:enabled") ?? [];
      [first, ...others].find((button) => button.ariaLabel === label)?.focus();
      if (!item?.contains(document.activeElement)) first?.focus();
    });
  const move = (from: number, to: number, label: string) => {
    const next = [...rack];
    next.splice(to, 0, ...next.splice(from, 1));
    update({ rack: next });
    setUsed(to);
    focus(to, label);
  };
  const remove = (at: number) => {
    update({ rack: rack.filter((_, other) => other !== at) });
    focus(Math.max(0, at - 1), "Remove");
  };
  const add = () => {
    update({
      rack: [...rack, { ...newRackItem(), text: "king - queen", last: Math.min(3, info.layers - 1) }],
    });
    setUsed(rack.length);
  };
  return (
    <section class="rack" aria-labelledby="rack" ref={container}>
      <div class="row head">
        <h2 id="rack">Interventions</h2>
        <button type="button" onClick={add}>
          Add intervention
        </button>
      </div>
      <p class="legend quiet">
        Above the slider: change of a token’s log-probability, in{" "}
        <abbr title="units of the natural logarithm">nats</abbr>. Shaded: 90 % range for random directions of
        the same strength.
      </p>
      {rack.length === 0 && <p class="quiet">No interventions: both outputs are unmodified.</p>}
      <ol>
        {rack.map((item, i) => (
          // Not on focus: the band would appear and move the pressed button away from the pointer.
          <li
            key={i}
            class={item.on ? "item" : "item muted"}
            onClickCapture={() => setUsed(i)}
            onInput={() => setUsed(i)}
            onKeyUp={() => setUsed(i)}
          >
            <Controls item={item} index={i} info={info} />
            {hasAmount(item) && (
              <div class="strength">
                {i === active && !failed && (
                  <Band engine={engine} item={item} index={i} slider={sliderOf(item)} />
                )}
                <Slider item={item} index={i} />
              </div>
            )}
            <div class="row tools">
              <label class="check">
                <input
                  type="checkbox"
                  checked={item.on}
                  onChange={() => updateRackItem(i, { on: !item.on })}
                />{" "}
                Enabled
              </label>
              <button
                type="button"
                aria-label="Move up"
                title="Move up"
                disabled={i === 0}
                onClick={() => move(i, i - 1, "Move up")}
              >
                ↑
              </button>
              <button
                type="button"
                aria-label="Move down"
                title="Move down"
                disabled={i === rack.length - 1}
                onClick={() => move(i, i + 1, "Move down")}
              >
                ↓
              </button>
              <button type="button" aria-label="Remove" title="Remove intervention" onClick={() => remove(i)}>
                ✕
              </button>
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Slider({ item, index }: { item: RackItem; index: number }) {
  const { name, min, max, step } = sliderOf(item);
  const id = `amount-${index}`;
  return (
    <div class="slider">
      <label for={id}>
        {name} <output>{item.amount.toFixed(2).replace("-", "−")}</output>
      </label>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={item.amount}
        onInput={(event) => updateRackItem(index, { amount: event.currentTarget.valueAsNumber })}
      />
    </div>
  );
}
