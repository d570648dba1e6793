import type { ViewProps } from "../components/view-props.ts";
import {
  BLOCK_HOOKS,
  CONDITIONS,
  OPS,
  OTHER_HOOKS,
  POSITIONS,
  type RackItem,
  REPLACEMENTS,
  TARGETS,
  UNITS,
} from "../state/rack.ts";
import { showSignal, updateRackItem } from "../state/state.ts";

/** Labels of the options. Others are shown as they are, hooks without their prefix. */
const LABELS: Record<string, string> = {
  residNorm: "× residual norm",
  raw: "× direction norm",
  sigma: "standard deviations",
  zero: "to zero",
  mean: "to the mean",
  resample: "to a resampled value",
  all: "all positions",
  prompt: "prompt only",
  generated: "generated only",
  at: "listed positions",
  always: "always",
  above: "if signal above",
  below: "if signal below",
};

/** Tooltips of the target field. */
const TARGET_HELP: Record<RackItem["kind"], string> = {
  expression: "sum and difference of words, such as king + woman - man",
  token: "text of a single token, with its leading space if it has one",
  signal: "number of a signal, from 0",
};

/** The form for an intervention: its operation, target, hook, layers, positions and condition. */
export function Controls({ item, index, info }: { item: RackItem; index: number; info: ViewProps["info"] }) {
  const change = (change: Partial<RackItem>) => updateRackItem(index, change);
  const isInBlocks = (BLOCK_HOOKS as readonly string[]).includes(item.hook);
  const hooks = info.signals > 0 ? [...BLOCK_HOOKS, ...OTHER_HOOKS] : [...BLOCK_HOOKS, OTHER_HOOKS[0]];
  const layers = Array.from({ length: info.layers }, (_, layer) => layer);
  return (
    <fieldset class="controls" aria-label={`Intervention ${index + 1}`}>
      <Choice
        label="Operation"
        value={item.op}
        options={OPS}
        onChange={(op) => change({ op, amount: { add: 0.1, set: 1, scale: 2, ablate: 0, swap: 0 }[op] })}
      />
      <Choice
        label="Target type"
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
        title={TARGET_HELP[item.kind]}
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
          Show codebook
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
          title="positions from 0, separated by commas"
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
  item: RackItem;
  change: (change: Partial<RackItem>) => void;
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
    <select
      aria-label={label}
      title={label}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value as T)}
    >
      {options.map((option) => (
        <option key={option} value={option}>
          {LABELS[option] ?? option.replace(/^hook_/, "")}
        </option>
      ))}
    </select>
  );
}
