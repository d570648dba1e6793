import { useRef, useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import { Band } from "./band.tsx";
import { Controls } from "./controls.tsx";
import { type Item, isForPrompt, newItem, state, update, updateItem } from "./state.ts";

/** What an amount is called, and how far its slider goes. */
export function sliderOf({ op, unit }: Item) {
  if (op === "set") return { name: "Value", min: -10, max: 10, step: 0.1 };
  if (op === "scale") return { name: "Factor", min: -2, max: 4, step: 0.05 };
  if (unit === "raw") return { name: "Strength", min: -4, max: 4, step: 0.05 };
  if (unit === "sigma") return { name: "Strength", min: -12, max: 12, step: 0.25 };
  return { name: "Strength", min: -0.3, max: 0.3, step: 0.01 };
}

const hasAmount = ({ op }: Item): boolean => op !== "ablate" && op !== "swap";

/** Interventions, in the order in which they apply. One of them, the last that was touched, has its chance band shown. */
export function Rack({ engine, info, failed }: ViewProps & { failed: boolean }) {
  const { rack } = state.value;
  const [touched, touch] = useState(0);
  const isBanded = (item?: Item) => item?.on && hasAmount(item) && isForPrompt(item);
  const active = isBanded(rack[touched]) ? touched : rack.findIndex(isBanded);
  const place = useRef<HTMLElement>(null);
  /** The focus stays with what it was on, once that is drawn. */
  const focus = (row: number, label: string) =>
    requestAnimationFrame(() => {
      const item = place.current?.querySelectorAll("li")[row] ?? place.current;
      const [first, ...others] = item?.querySelectorAll<HTMLButtonElement>("button:enabled") ?? [];
      [first, ...others].find((button) => button.ariaLabel === label)?.focus();
      if (!item?.contains(document.activeElement)) first?.focus();
    });
  const move = (from: number, to: number, label: string) => {
    const next = [...rack];
    next.splice(to, 0, ...next.splice(from, 1));
    update({ rack: next });
    touch(to);
    focus(to, label);
  };
  const remove = (at: number) => {
    update({ rack: rack.filter((_, other) => other !== at) });
    focus(Math.max(0, at - 1), "Remove");
  };
  const add = () => {
    update({ rack: [...rack, { ...newItem(), text: "king - queen", last: Math.min(3, info.layers - 1) }] });
    touch(rack.length);
  };
  return (
    <section class="rack" aria-labelledby="rack" ref={place}>
      <div class="row head">
        <h2 id="rack">Interventions</h2>
        <button type="button" onClick={add}>
          Add one
        </button>
      </div>
      <p class="legend quiet">
        Behind the strength: how far it moves the chance of a token, in nats. Shaded is where 90 % of random
        directions as strong would.
      </p>
      {rack.length === 0 && <p class="quiet">None: both runs are the model’s own.</p>}
      <ol>
        {rack.map((item, i) => (
          // Not when it has the focus: the band would move what is being pressed away from the pointer.
          <li
            key={i}
            class={item.on ? "item" : "item muted"}
            onClickCapture={() => touch(i)}
            onInput={() => touch(i)}
            onKeyUp={() => touch(i)}
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
                <input type="checkbox" checked={item.on} onChange={() => updateItem(i, { on: !item.on })} />{" "}
                on
              </label>
              <button
                type="button"
                aria-label="Move up"
                disabled={i === 0}
                onClick={() => move(i, i - 1, "Move up")}
              >
                ↑
              </button>
              <button
                type="button"
                aria-label="Move down"
                disabled={i === rack.length - 1}
                onClick={() => move(i, i + 1, "Move down")}
              >
                ↓
              </button>
              <button type="button" aria-label="Remove" onClick={() => remove(i)}>
                ✕
              </button>
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Slider({ item, index }: { item: Item; index: number }) {
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
        onInput={(event) => updateItem(index, { amount: event.currentTarget.valueAsNumber })}
      />
    </div>
  );
}
