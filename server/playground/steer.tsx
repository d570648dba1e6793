import { useEffect, useRef, useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import {
  type Engine,
  type Failure,
  type ModelInfo,
  nothingFor,
  type RunName,
  type SteerEvent,
  type TokenText,
} from "./engine.ts";
import { Notice } from "./notice.tsx";
import { Rack } from "./rack.tsx";
import { useResource } from "./resource.ts";
import { changes, state, update } from "./state.ts";
import { type Shown, Tokens } from "./tokens.tsx";

type Token = Extract<SteerEvent, { type: "token" }>;

interface Run {
  tokens: Token[];
  /** What was held back until the end. */
  rest: string;
}

interface Runs extends Record<RunName, Run> {
  /** What they continue: another may be in the making. */
  prompt: string;
  running: boolean;
  /** They came to their end. */
  ended?: boolean;
  error?: Failure;
}

const EMPTY: Runs = {
  prompt: "",
  default: { tokens: [], rest: "" },
  steered: { tokens: [], rest: "" },
  running: false,
};

export function Steer({ engine, info }: ViewProps) {
  const { seed, temperature, length } = state.value;
  const { patch } = changes.value;
  const runs = useRuns(engine, info);
  return (
    <>
      <Prompt engine={engine} />
      <div class="row settings">
        <label>
          Temperature{" "}
          <input
            type="number"
            min={0}
            max={2}
            step={0.1}
            value={temperature}
            onChange={(event) => update({ temperature: event.currentTarget.valueAsNumber || 0 })}
          />
        </label>
        <label>
          Tokens{" "}
          <input
            type="number"
            min={1}
            max={128}
            value={length}
            onChange={(event) =>
              update({ length: Math.max(1, Math.round(event.currentTarget.valueAsNumber || 1)) })
            }
          />
        </label>
        <label>
          Seed{" "}
          <input
            type="number"
            min={0}
            value={seed}
            onChange={(event) => update({ seed: Math.round(event.currentTarget.valueAsNumber || 0) })}
          />
        </label>
        <button type="button" onClick={() => update({ seed: seed + 1 })}>
          Another try
        </button>
        {patch && (
          <button type="button" class="badge" onClick={() => update({ patched: false })}>
            patched: {"name" in patch ? patch.name : "by expression"} ✕
          </button>
        )}
      </div>
      {runs.error && <Notice error={runs.error} />}
      <div class="outputs">
        <Output name="default" title="Default" run={runs.default} runs={runs} />
        <Output name="steered" title="Steered" run={runs.steered} runs={runs} />
      </div>
      <p class="legend quiet">
        The stronger a token’s tint, the less the model expected it. Click a token to see what it is made of.
      </p>
      <Rack engine={engine} info={info} failed={runs.error !== undefined} />
    </>
  );
}

/** The prompt, and its tokens. */
export function Prompt({ engine, choose, selected }: Pick<ViewProps, "engine"> & PromptProps) {
  const { prompt } = state.value;
  const tokens = useResource(prompt, () => engine.tokenize(prompt), { pause: 120 });
  return (
    <div class="prompt">
      <label for="prompt">Prompt</label>
      <textarea
        id="prompt"
        rows={2}
        spellcheck={false}
        value={prompt}
        onInput={(event) =>
          update({ prompt: event.currentTarget.value, position: undefined, cell: undefined })
        }
      />
      <p class="prompt-tokens">
        <Tokens label="The prompt’s tokens" tokens={tokens.value ?? []} choose={choose} selected={selected} />
      </p>
    </div>
  );
}

interface PromptProps {
  choose?: (token: TokenText, index: number) => void;
  selected?: number;
}

/** Both runs, begun again when something they depend on is another. */
function useRuns(engine: Engine, info: ModelInfo): Runs {
  const { prompt, seed, temperature, length } = state.value;
  const { interventions, patch } = changes.value;
  const request = {
    prompt,
    seed,
    temperature,
    maxTokens: length,
    interventions: interventions.length > 0 || patch ? interventions : [nothingFor(info)],
    patch,
  };
  const key = JSON.stringify(request);
  const [runs, set] = useState(EMPTY);
  /** Whoever types or slides goes on for a while; who has just come waits. */
  const pause = useRef(0);
  useEffect(() => {
    if (prompt === "") return set(EMPTY);
    set((last) => ({ ...last, running: true, ended: false, error: undefined }));
    const controller = new AbortController();
    const { signal } = controller;
    const timer = setTimeout(async () => {
      const found: Pick<Runs, RunName> = {
        default: { tokens: [], rest: "" },
        steered: { tokens: [], rest: "" },
      };
      let frame = 0;
      const show = (last: Omit<Runs, RunName | "prompt">) => {
        cancelAnimationFrame(frame);
        if (!signal.aborted) set({ prompt, ...found, ...last });
      };
      try {
        for await (const event of engine.steer(request, signal)) {
          if (event.type === "token") found[event.run].tokens.push(event);
          if (event.type === "finish") found[event.run].rest = event.text;
          cancelAnimationFrame(frame);
          frame = requestAnimationFrame(() => show({ running: true }));
        }
        show({ running: false, ended: true });
      } catch (error) {
        show({ running: false, error: error as Failure });
      }
    }, pause.current);
    pause.current = 150;
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return runs;
}

function Output({ name, title, run, runs: { prompt, running, ended } }: OutputProps) {
  return (
    <section class={`output ${name}`} aria-label={title}>
      <h2>{title}</h2>
      <p data-run={name} aria-busy={running}>
        <span class="quiet">{prompt}</span>
        <Tokens label={`${title} text`} tokens={run.tokens.map(shown)} />
        {run.rest}
        {running && <i class="caret" />}
        {ended && run.tokens.length === 0 && run.rest === "" && (
          <em class="quiet"> Nothing: the prompt fills the model’s context, or a text ends here.</em>
        )}
      </p>
    </section>
  );
}

interface OutputProps {
  name: RunName;
  title: string;
  run: Run;
  runs: Runs;
}

/** Nats at which a token has its full tint. */
const SURPRISE = 7;

const shown = ({ id, text, logprob }: Token): Shown => ({
  id,
  text,
  tone: "surprise",
  tint: Math.min(1, -logprob / SURPRISE),
  title: `probability ${percent(Math.exp(logprob))}`,
});

export function percent(x: number): string {
  // Of what is so rare a share says nothing.
  if (x > 0 && x < 1e-5) return `1 in ${Number((1 / x).toPrecision(2)).toLocaleString("en")}`;
  return `${(100 * x).toFixed(x < 0.001 ? 3 : x < 0.1 ? 1 : 0)} %`;
}
