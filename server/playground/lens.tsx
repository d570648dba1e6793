import { useState } from "preact/hooks";
import type { ViewProps } from "./app.tsx";
import { Notice } from "./notice.tsx";
import { useResource } from "./resource.ts";
import { changes, showToken, state } from "./state.ts";
import { Prompt, percent } from "./steer.tsx";

/** What the model would say at each token if no further block came. */
export function LensView({ engine }: ViewProps) {
  const { prompt } = state.value;
  const lens = useResource(
    prompt === "" ? undefined : JSON.stringify([prompt, changes.value]),
    (signal) => engine.lens({ text: prompt, ...changes.value }, signal),
    { pause: 250 },
  );
  const [cell, setCell] = useState<[layer: number, position: number]>();
  const { value, error } = lens;
  const isChanged = changes.value.interventions.length > 0 || changes.value.patch !== undefined;
  const top = cell && value?.cells[cell[0]]?.[cell[1]]?.top;
  return (
    <>
      <Prompt engine={engine} />
      <p class="legend quiet">
        Under each token: what the model would say next if it ended after that layer, the last layer on top.
        {isChanged && " With the interventions of the Steer view."}
      </p>
      {error && <Notice error={error} />}
      {value && (
        <div class="grid">
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keys. */}
          <section class="scroll" tabIndex={0} aria-label="Logit lens">
            <table>
              <thead>
                <tr>
                  <th scope="col">layer</th>
                  {value.tokens.map(({ text }, i) => (
                    <th key={i} scope="col">
                      <code>{text.trim() || "␣"}</code>
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {value.hooks
                  .map((hook, l) => ({ hook, l }))
                  .reverse()
                  .map(({ hook, l }) => (
                    <tr key={hook}>
                      <th scope="row">{layerName(hook)}</th>
                      {value.cells[l].map(({ top: [best] }, p) => (
                        <td key={p}>
                          <button
                            type="button"
                            style={{ "--tint": best.probability.toFixed(2) }}
                            onFocus={() => setCell([l, p])}
                            onMouseEnter={() => setCell([l, p])}
                            onClick={() => showToken(best.id)}
                          >
                            {best.text.trim() || JSON.stringify(best.text).slice(1, -1) || "␣"}
                          </button>
                        </td>
                      ))}
                    </tr>
                  ))}
              </tbody>
            </table>
          </section>
          <p class="quiet detail" role="status">
            {top && cell
              ? `${layerName(value.hooks[cell[0]])}, after “${value.tokens[cell[1]].text.trim()}”: ${top
                  .map(
                    ({ text, probability }) =>
                      `${text.trim() || JSON.stringify(text)} ${percent(probability)}`,
                  )
                  .join(", ")}`
              : "Point at a cell to see its five likeliest tokens."}
          </p>
        </div>
      )}
    </>
  );
}

const layerName = (hook: string): string => hook.match(/^blocks\.(\d+)\.hook_resid_post$/)?.[1] ?? "embed";
