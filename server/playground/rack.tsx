import { useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import { Band } from "./band.tsx";
import {
  BLOCK_HOOKS,
  type Item,
  newItem,
  OPS,
  OTHER_HOOKS,
  showSignal,
  state,
  TARGETS,
  UNITS,
  update,
  updateItem,
} from "./state.ts";

/** What an amount is called, and how far its slider goes. */
export function sliderOf({ op, unit }: Item) {
  if (op === "set") return { name: "Value", min: -10, max: 10, step: 0.1 };
  if (op === "scale") return { name: "Factor", min: -2, max: 4, step: 0.05 };
  if (unit === "raw") return { name: "Strength", min: -4, max: 4, step: 0.05 };
  return { name: "Strength", min: -0.3, max: 0.3, step: 0.01 };
}

const hasAmount = ({ op }: Item): boolean => op !== "ablate" && op !== "swap";

const WORDS: Record<string, string> = {
  expression: "words",
  token: "token",
  signal: "signal",
  residNorm: "of the residual’s length",
  raw: "of its own length",
};

/** Interventions, in the order in which they apply. One of them, the last that was touched, has its chance band shown. */
export function Rack({ engine, info, failed }: ViewProps & { failed: boolean }) {
  const { rack } = state.value;
  const [touched, touch] = useState(0);
  const isBanded = (item?: Item) => item?.on && hasAmount(item);
  const active = isBanded(rack[touched]) ? touched : rack.findIndex(isBanded);
  const move = (from: number, to: number) => {
    const next = [...rack];
    next.splice(to, 0, ...next.splice(from, 1));
    update({ rack: next });
    touch(to);
  };
  const add = () => {
    update({ rack: [...rack, { ...newItem(), text: "king - queen", last: Math.min(3, info.layers - 1) }] });
    touch(rack.length);
  };
  return (
    <section class="rack" aria-labelledby="rack">
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
          <li key={i} class={item.on ? "item" : "item muted"} onFocusCapture={() => touch(i)}>
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
              <button type="button" aria-label="Move up" disabled={i === 0} onClick={() => move(i, i - 1)}>
                ↑
              </button>
              <button
                type="button"
                aria-label="Move down"
                disabled={i === rack.length - 1}
                onClick={() => move(i, i + 1)}
              >
                ↓
              </button>
              <button
                type="button"
                aria-label="Remove"
                onClick={() => update({ rack: rack.filter((_, other) => other !== i) })}
              >
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

function Controls({ item, index, info }: { item: Item; index: number; info: ViewProps["info"] }) {
  const change = (change: Partial<Item>) => updateItem(index, change);
  const isInBlocks = (BLOCK_HOOKS as readonly string[]).includes(item.hook);
  const hooks = info.signals > 0 ? [...BLOCK_HOOKS, ...OTHER_HOOKS] : [...BLOCK_HOOKS, OTHER_HOOKS[0]];
  const layers = Array.from({ length: info.layers }, (_, layer) => layer);
  return (
    <div class="controls">
      <Choice
        label="What to do"
        value={item.op}
        options={OPS}
        onChange={(op) => change({ op, amount: { add: 0.1, set: 1, scale: 2, ablate: 0, swap: 0 }[op] })}
      />
      <Choice
        label="Target"
        value={item.kind}
        options={info.signals > 0 ? TARGETS : TARGETS.filter((kind) => kind !== "signal")}
        onChange={(kind) =>
          change({
            kind,
            text: { expression: "happy - sad", token: " happy", signal: "9" }[kind],
            other: { expression: "sad", token: " sad", signal: "10" }[kind],
          })
        }
      />
      <input
        class="target"
        aria-label="Direction"
        inputMode={item.kind === "signal" ? "numeric" : "text"}
        value={item.text}
        spellcheck={false}
        onInput={(event) => change({ text: event.currentTarget.value })}
      />
      {item.op === "swap" && (
        <label class="with">
          with{" "}
          <input
            class="target"
            inputMode={item.kind === "signal" ? "numeric" : "text"}
            value={item.other}
            spellcheck={false}
            onInput={(event) => change({ other: event.currentTarget.value })}
          />
        </label>
      )}
      {item.kind === "signal" && (
        <button type="button" onClick={() => showSignal(Number(item.text))}>
          codebook
        </button>
      )}
      <Choice label="Hook" value={item.hook} options={hooks} onChange={(hook) => change({ hook })} />
      {isInBlocks && (
        <span class="layers">
          layers{" "}
          <Choice
            label="First layer"
            value={String(item.first)}
            options={layers.map(String)}
            onChange={(first) => change({ first: Number(first), last: Math.max(Number(first), item.last) })}
          />
          –
          <Choice
            label="Last layer"
            value={String(item.last)}
            options={layers.map(String)}
            onChange={(last) => change({ last: Number(last), first: Math.min(Number(last), item.first) })}
          />
        </span>
      )}
      {item.op === "add" && (
        <Choice
          label="Unit"
          value={item.unit}
          options={UNITS}
          onChange={(unit) => change({ unit, amount: unit === "raw" ? 1 : 0.1 })}
        />
      )}
    </div>
  );
}

function Choice<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly T[];
  onChange: (value: T) => void;
}) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
      {options.map((option) => (
        <option key={option} value={option}>
          {WORDS[option] ?? option.replace(/^hook_/, "")}
        </option>
      ))}
    </select>
  );
}
