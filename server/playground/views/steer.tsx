import { useEffect, useRef, useState } from "preact/hooks";
import { percent } from "../components/format.ts";
import { Notice } from "../components/notice.tsx";
import { Prompt } from "../components/prompt.tsx";
import { type ShownToken, Tokens } from "../components/tokens.tsx";
import type { ViewProps } from "../components/view-props.ts";
import {
  type Engine,
  type Failure,
  type ModelInfo,
  type RunName,
  type SteerEvent,
  zeroIntervention,
} from "../engine/engine.ts";
import { changes, state, update } from "../state/state.ts";
import { InterventionList } from "./intervention-list.tsx";

type Token = Extract<SteerEvent, { type: "token" }>;

interface Run {
  tokens: Token[];
  /** Text that was still buffered at the end. */
  rest: string;
}

interface Runs extends Record<RunName, Run> {
  /** The prompt that the runs continue. It may differ from the one being typed. */
  prompt: string;
  running: boolean;
  /** Both runs finished without an error. */
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
            title="sampling temperature: 0 always takes the most likely token"
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
            title="maximum number of tokens to generate"
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
            title="random seed of the sampling: reuse it to reproduce a text"
            type="number"
            min={0}
            value={seed}
            onChange={(event) => update({ seed: Math.round(event.currentTarget.valueAsNumber || 0) })}
          />
        </label>
        <button type="button" onClick={() => update({ seed: seed + 1 })}>
          New seed
        </button>
        {patch && (
          <button
            type="button"
            class="badge"
            title="Stop applying the patch"
            onClick={() => update({ patched: false })}
          >
            Patched: {"name" in patch ? patch.name : "unsaved expression"} ✕
          </button>
        )}
      </div>
      {runs.error && <Notice error={runs.error} />}
      <div class="outputs">
        <Output name="default" title="Default" run={runs.default} runs={runs} />
        <Output name="steered" title="Steered" run={runs.steered} runs={runs} />
      </div>
      <p class="legend quiet">
        A stronger tint marks a token with a lower probability. Click a token to show its recipe.
      </p>
      <InterventionList engine={engine} info={info} failed={runs.error !== undefined} />
    </>
  );
}

/** Generates both runs, and again whenever one of their inputs changes. */
function useRuns(engine: Engine, info: ModelInfo): Runs {
  const { prompt, seed, temperature, length } = state.value;
  const { interventions, patch } = changes.value;
  const request = {
    prompt,
    seed,
    temperature,
    maxTokens: length,
    interventions: interventions.length > 0 || patch ? interventions : [zeroIntervention(info)],
    patch,
  };
  const key = JSON.stringify(request);
  const [runs, set] = useState(EMPTY);
  /** Milliseconds to wait for further typing or sliding. The first request starts immediately. */
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
        <Tokens label={`${title} text`} tokens={run.tokens.map(shownToken)} />
        {run.rest}
        {running && <i class="caret" />}
        {ended && run.tokens.length === 0 && run.rest === "" && (
          <em class="quiet"> No output: the prompt fills the context window, or the model ended the text.</em>
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

/** Negative log-probability, in nats, from which a token has its full tint. */
const SURPRISE = 7;

const shownToken = ({ id, text, logprob }: Token): ShownToken => ({
  id,
  text,
  tone: "surprise",
  tint: Math.min(1, -logprob / SURPRISE),
  title: `probability ${percent(Math.exp(logprob))}`,
});
