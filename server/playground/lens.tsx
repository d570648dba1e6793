import { useEffect, useRef } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import { Bars } from "./bars.tsx";
import type { Lens } from "./engine.ts";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { promptChanges, state, update } from "./state.ts";
import { Prompt, percent } from "./steer.tsx";
import { TokenName } from "./tokens.tsx";

/** What the model would say at each token if no further block came. */
export function LensView({ engine }: ViewProps) {
  const { prompt } = state.value;
  const changes = promptChanges.value;
  const lens = useResource(
    prompt === "" ? undefined : JSON.stringify([prompt, changes]),
    (signal) => engine.lens({ text: prompt, ...changes }, signal),
    { pause: 250 },
  );
  const { value, error } = lens;
  const isChanged = changes.interventions.length > 0;
  return (
    <>
      <Prompt engine={engine} />
      <p class="legend quiet">
        Under each token: what the model would say next if it ended after that layer, the last layer on top.
        Choose a cell to see the likeliest.
        {isChanged && " With the interventions of the Steer view."}
        {changes.patch && " The model is patched."}
      </p>
      {error && <Notice error={error} />}
      {lens.pending && !value && <p class="quiet">Looking through the layers …</p>}
      {value && <Grid lens={value} />}
    </>
  );
}

/** Cells that can be chosen: a single stop of the tab key, and arrows within. */
function Grid({ lens: { hooks, tokens, cells } }: { lens: Lens }) {
  const { cell = [Infinity, Infinity] } = state.value;
  const clamp = (i: number, length: number) => Math.max(0, Math.min(i, length - 1));
  const at = [clamp(cell[0], hooks.length), clamp(cell[1], tokens.length)] as const;
  const table = useRef<HTMLTableElement>(null);
  useEffect(() => {
    // A long prompt's last tokens are out of sight on a small screen.
    const chosen = table.current!.querySelector<HTMLElement>("[aria-pressed=true]")!.parentElement!;
    const frame = table.current!.parentElement!;
    frame.scrollLeft = chosen.offsetLeft + chosen.offsetWidth - frame.clientWidth;
  }, [tokens]);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = [clamp(at[0] + step[0], hooks.length), clamp(at[1] + step[1], tokens.length)];
    table.current!.querySelector<HTMLElement>(`[data-cell="${next}"]`)!.focus();
  };
  return (
    <>
      <section class="scroll" aria-label="Logit lens">
        <table ref={table} onKeyDown={move}>
          <thead>
            <tr>
              <th scope="col">layer</th>
              {tokens.map(({ text }, i) => (
                <th key={i} scope="col">
                  <code>{brief(text)}</code>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {hooks
              .map((hook, l) => ({ hook, l }))
              .reverse()
              .map(({ hook, l }) => (
                <tr key={hook}>
                  <th scope="row">{layerName(hook)}</th>
                  {cells[l].map(({ top: [best] }, p) => {
                    const isChosen = l === at[0] && p === at[1];
                    return (
                      <td key={p}>
                        <button
                          type="button"
                          data-cell={`${l},${p}`}
                          style={{ "--tint": best.probability.toFixed(2) }}
                          tabIndex={isChosen ? 0 : -1}
                          aria-pressed={isChosen}
                          title={percent(best.probability)}
                          onFocus={() => update({ cell: [l, p] })}
                          onClick={() => update({ cell: [l, p] })}
                        >
                          {brief(best.text)}
                        </button>
                      </td>
                    );
                  })}
                </tr>
              ))}
          </tbody>
        </table>
      </section>
      <section class="likeliest" aria-live="polite">
        <h3>
          {at[0] === 0 ? "Before the first layer" : `After layer ${layerName(hooks[at[0]])}`}, following “
          {brief(tokens[at[1]].text)}”
        </h3>
        <Bars
          label="Likeliest"
          format={percent}
          bars={cells[at[0]][at[1]].top.map((token) => ({
            key: token.id,
            value: token.probability,
            label: <TokenName {...token} />,
          }))}
        />
      </section>
    </>
  );
}

const brief = (text: string): string => text.trim() || JSON.stringify(text).slice(1, -1).trim() || "␣";

const layerName = (hook: string): string => hook.match(/^blocks\.(\d+)\.hook_resid_post$/)?.[1] ?? "embed";
