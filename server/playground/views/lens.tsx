import { useEffect, useRef } from "preact/hooks";
import { Bars } from "../components/bars.tsx";
import { percent } from "../components/format.ts";
import { TokenName } from "../components/names.tsx";
import { Notice } from "../components/notice.tsx";
import { Prompt } from "../components/prompt.tsx";
import type { ViewProps } from "../components/view-props.ts";
import type { Lens } from "../engine/engine.ts";
import { useResource } from "../state/resource.ts";
import { promptChanges, state, update } from "../state/state.ts";

/** The logit lens: the prediction at each token if the model ended after a given layer. */
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
        Below each token: the most likely next token if the model ended after that layer. The last layer is at
        the top. Click a cell to list its most likely tokens.
        {isChanged && " Steer interventions are applied."}
        {changes.patch && " The patch is applied."}
      </p>
      {error && <Notice error={error} />}
      {lens.pending && !value && <p class="quiet">Computing the logit lens …</p>}
      {value && <Grid lens={value} />}
    </>
  );
}

/** The table of predictions. The Tab key reaches the table as a whole; arrow keys move within it. */
function Grid({ lens: { hooks, tokens, cells } }: { lens: Lens }) {
  const { cell = [Infinity, Infinity] } = state.value;
  const clamp = (i: number, length: number) => Math.max(0, Math.min(i, length - 1));
  const selected = [clamp(cell[0], hooks.length), clamp(cell[1], tokens.length)] as const;
  const table = useRef<HTMLTableElement>(null);
  useEffect(() => {
    // Scrolls to the selected cell: on a small screen the last tokens of a long prompt are hidden.
    const button = table.current!.querySelector<HTMLElement>("[aria-pressed=true]")!.parentElement!;
    const frame = table.current!.parentElement!;
    frame.scrollLeft = button.offsetLeft + button.offsetWidth - frame.clientWidth;
  }, [tokens]);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = [clamp(selected[0] + step[0], hooks.length), clamp(selected[1] + step[1], tokens.length)];
    table.current!.querySelector<HTMLElement>(`[data-cell="${next}"]`)!.focus();
  };
  return (
    <>
      <section class="scroll" aria-label="Logit lens">
        <table ref={table} onKeyDown={move}>
          <thead>
            <tr>
              <th scope="col" title="“embed” is the token embedding, before the first layer">
                layer
              </th>
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
                    const isSelected = l === selected[0] && p === selected[1];
                    return (
                      <td key={p}>
                        <button
                          type="button"
                          data-cell={`${l},${p}`}
                          style={{ "--tint": best.probability.toFixed(2) }}
                          tabIndex={isSelected ? 0 : -1}
                          aria-pressed={isSelected}
                          title={`probability ${percent(best.probability)}`}
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
      <section class="most-likely" aria-live="polite">
        <h3>
          {selected[0] === 0 ? "Before the first layer" : `After layer ${layerName(hooks[selected[0]])}`}, at
          the token “{brief(tokens[selected[1]].text)}”
        </h3>
        <Bars
          label="Most likely tokens"
          format={percent}
          bars={cells[selected[0]][selected[1]].top.map((token) => ({
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
