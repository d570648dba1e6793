/**
 * Ablates the signal that contributes most to a prediction, twice: with an intervention, which is plain JSON, and with a
 * hook function, which is code. Both give the same logits.
 *
 * Run: bun docs/examples/ablate-a-signal.ts
 */
import { bundledModel, type HostTensor, type Intervention, loadModel } from "reflow";

const prompt = "Once upon a time";

using model = await loadModel(bundledModel());
const { target, signals } = await model.explain(prompt, { top: 1 });
const { signal, contribution } = signals[0];
console.log(
  `Signal ${signal} contributes ${contribution.toFixed(3)} to the logit of ${JSON.stringify(target.text)}.`,
);

const ablation: Intervention = { op: "ablate", target: { signal }, hook: "hook_signals" };
const before = await model.forward(prompt);
const withIntervention = await model.forward(prompt, { interventions: [ablation] });
const withHook = await model.runWithHooks(prompt, {
  hooks: [
    [
      "hook_signals",
      ({ data, shape }) => {
        const [, , S] = shape; // (B,T,S)
        for (let at = signal; at < data.length; at += S) data[at] = 0;
      },
    ],
  ],
});

const logit = (logits: HostTensor) => logits.at(0, -1, target.id);
console.log(`Logit before:             ${logit(before).toFixed(3)}`);
console.log(`Logit, by intervention:   ${logit(withIntervention).toFixed(3)}`);
console.log(`Logit, by hook function:  ${logit(withHook).toFixed(3)}`);
