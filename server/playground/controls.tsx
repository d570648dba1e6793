import type { ViewProps } from "./app.tsx";
import {
  BLOCK_HOOKS,
  CONDITIONS,
  type Item,
  OPS,
  OTHER_HOOKS,
  POSITIONS,
  REPLACEMENTS,
  showSignal,
  TARGETS,
  UNITS,
  updateItem,
} from "./state.ts";

const WORDS: Record<string, string> = {
  expression: "words",
  token: "token",
  signal: "signal",
  residNorm: "of the residual’s length",
  raw: "of its own length",
  sigma: "standard deviations",
  zero: "to zero",
  mean: "to its mean",
  resample: "to what it is elsewhere",
  all: "everywhere",
  prompt: "in the prompt",
  generated: "after the prompt",
  at: "at positions",
  always: "always",
  above: "if above",
  below: "if below",
};

/** What an intervention is about, and where it acts. */
export function Controls({ item, index, info }: { item: Item; index: number; info: ViewProps["info"] }) {
  const change = (change: Partial<Item>) => updateItem(index, change);
  const isInBlocks = (BLOCK_HOOKS as readonly string[]).includes(item.hook);
  const hooks = info.signals > 0 ? [...BLOCK_HOOKS, ...OTHER_HOOKS] : [...BLOCK_HOOKS, OTHER_HOOKS[0]];
  const layers = Array.from({ length: info.layers }, (_, layer) => layer);
  return (
    <fieldset class="controls" aria-label={`Intervention ${index + 1}`}>
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
        <button
          type="button"
          disabled={!(/^\d+$/.test(item.text) && Number(item.text) < info.signals)}
          onClick={() => showSignal(Number(item.text))}
        >
          codebook
        </button>
      )}
      {item.op === "add" && (
        <Choice
          label="Unit"
          value={item.unit}
          options={UNITS}
          onChange={(unit) => change({ unit, amount: { residNorm: 0.1, raw: 1, sigma: 4 }[unit] })}
        />
      )}
      {item.op === "ablate" && (
        <Choice
          label="Replacement"
          value={item.replacement}
          options={REPLACEMENTS}
          onChange={(replacement) => change({ replacement })}
        />
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
      <Choice
        label="Positions"
        value={item.positions}
        options={POSITIONS}
        onChange={(positions) => change({ positions })}
      />
      {item.positions === "at" && (
        <input
          class="short"
          aria-label="List of positions"
          title="from 0 on, with commas"
          value={item.at}
          onInput={(event) => change({ at: event.currentTarget.value })}
        />
      )}
      {info.signals > 0 && (
        <Choice
          label="Condition"
          value={item.condition}
          options={CONDITIONS}
          onChange={(condition) => change({ condition })}
        />
      )}
      {item.condition !== "always" && <Condition item={item} change={change} signals={info.signals} />}
    </fieldset>
  );
}

function Condition({ item: { condition, signal, threshold }, change, signals }: ConditionProps) {
  return (
    <span class="layers">
      signal{" "}
      <input
        class="short"
        aria-label="Signal of the condition"
        type="number"
        min={0}
        max={signals - 1}
        value={signal}
        onChange={(event) => change({ signal: event.currentTarget.valueAsNumber || 0 })}
      />{" "}
      {condition === "above" ? ">" : "<"}{" "}
      <input
        class="short"
        aria-label="Threshold"
        type="number"
        step={0.1}
        value={threshold}
        onChange={(event) => change({ threshold: event.currentTarget.valueAsNumber || 0 })}
      />
    </span>
  );
}

interface ConditionProps {
  item: Item;
  change: (change: Partial<Item>) => void;
  signals: number;
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
