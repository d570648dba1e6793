import { Bars } from "../components/bars.tsx";
import { percent, signed } from "../components/format.ts";
import { SignalName, TokenName } from "../components/names.tsx";
import { Notice } from "../components/notice.tsx";
import { Prompt } from "../components/prompt.tsx";
import type { ViewProps } from "../components/view-props.ts";
import { useResource } from "../state/resource.ts";
import { promptChanges, state, update } from "../state/state.ts";

/** The attribution of a prediction: the contribution of each signal, and of each component, to its logit. */
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
        Click a token to explain the prediction that follows it.
        {isChanged && " Steer interventions are applied and shown as their own row."}
        {changes.patch && " The patch is applied."}
      </p>
      {error && <Notice error={error} />}
      {explanation.pending && !value && <p class="quiet">Computing the attribution …</p>}
      {value && (
        <>
          <h2 class="prediction">
            <TokenName {...value.target} />{" "}
            <small class="quiet">
              {percent(Math.exp(value.logprob))}, logit {value.logit.toFixed(2)} ={" "}
              {value.unit === "signal" ? (
                <span title="sum, over all signals, of the token’s recipe weight times the signal’s activation">
                  Σ recipe × activation
                </span>
              ) : (
                <span title="sum, over all dimensions, of the token’s embedding times the normalised residual stream">
                  Σ embedding × residual
                </span>
              )}
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
                {value.rest.count} other {value.unit}s: {signed(value.rest.contribution)}. Total logit:{" "}
                {signed(value.sum)} (sum of absolute contributions {value.magnitude.toFixed(2)}).
              </p>
            </section>
            <section>
              <h3 title="contributions of the embedding and of each layer’s attention and MLP outputs">
                By component
              </h3>
              <Bars
                label="By component"
                bars={value.writers.map(({ name, contribution }) => ({
                  key: name,
                  value: contribution,
                  label: componentName(name),
                }))}
              />
            </section>
          </div>
        </>
      )}
    </>
  );
}

const componentName = (name: string): string =>
  name.replace(/^blocks\.(\d+)\.attn$/, "layer $1 attention").replace(/^blocks\.(\d+)\.mlp$/, "layer $1 MLP");
