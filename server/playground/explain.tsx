import type { ViewProps } from "./app.tsx";
import { Bars, signed } from "./bars.tsx";
import { Notice } from "./notice.tsx";
import { SignalName } from "./panel.tsx";
import { useResource } from "./resource.ts";
import { promptChanges, state, update } from "./state.ts";
import { Prompt, percent } from "./steer.tsx";
import { TokenName } from "./tokens.tsx";

/** The ledger of a prediction: what signals, and what writers, have added to its logit. */
export function Explain({ engine }: ViewProps) {
  const { prompt, position } = state.value;
  const changes = promptChanges.value;
  const explanation = useResource(
    prompt === "" ? undefined : JSON.stringify([prompt, position, changes]),
    async () => {
      const { length } = await engine.tokenize(prompt);
      return engine.explain({
        text: prompt,
        position: Math.min(position ?? length - 1, length - 1),
        ...changes,
      });
    },
    { pause: 200 },
  );
  const { value, error } = explanation;
  const isChanged = changes.interventions.length > 0;
  return (
    <>
      <Prompt engine={engine} selected={value?.position} choose={(_, position) => update({ position })} />
      <p class="legend quiet">
        Choose a token of the prompt: its prediction of the next one is taken apart.
        {isChanged && " With the interventions of the Steer view: they are a writer too."}
        {changes.patch && " The model is patched."}
      </p>
      {error && <Notice error={error} />}
      {explanation.pending && !value && <p class="quiet">Taking it apart …</p>}
      {value && (
        <>
          <h2 class="prediction">
            <TokenName {...value.target} />{" "}
            <small class="quiet">
              {percent(Math.exp(value.logprob))}, logit {value.logit.toFixed(2)} ={" "}
              {value.unit === "signal" ? "Σ recipe × reading" : "Σ embedding × residual"}
            </small>
          </h2>
          <div class="columns">
            <section>
              <h3>By {value.unit}</h3>
              <Bars
                label={`By ${value.unit}`}
                bars={value.signals.map(({ signal, contribution, codebook }) => ({
                  key: signal,
                  value: contribution,
                  label: <SignalName signal={signal} />,
                  note: codebook.most.map(({ text }) => text.trim()).join(" "),
                }))}
              />
              <p class="quiet legend">
                {value.rest.count} more {value.unit}s add {signed(value.rest.contribution)}; all of them{" "}
                {signed(value.sum)}, their sizes {value.magnitude.toFixed(2)}.
              </p>
            </section>
            <section>
              <h3>By writer</h3>
              <Bars
                label="By writer"
                bars={value.writers.map(({ name, contribution }) => ({
                  key: name,
                  value: contribution,
                  label: writerName(name),
                }))}
              />
            </section>
          </div>
        </>
      )}
    </>
  );
}

const writerName = (name: string): string => name.replace(/^blocks\.(\d+)\./, "$1 ");
