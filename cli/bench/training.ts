import type { Backend } from "../../runtime/backend/contract/backend.ts";
import { TENSOR_BYTES } from "../../runtime/backend/wasm/heap.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import { flopsPerToken } from "../../runtime/config/parameter-specs.ts";
import { AdamW } from "../../runtime/transformer/optimizer.ts";
import { freeParameters, initialize } from "../../runtime/transformer/parameters.ts";
import { TrainableModel, trainingBytes } from "../../runtime/transformer/trainable-model.ts";
import { bytes } from "../shared/format.ts";
import { type BenchDevice, benchConfig, type DeviceKind } from "./device.ts";
import { bestRates, type Measurement, measurement, rateSampler } from "./measure.ts";

export const TRAINING_PRESETS = ["nano", "small", "reflow-1"];

/** Sequences per step. On a GPU: enough to occupy it, within 24 GB of memory. */
const BATCH: Record<DeviceKind, Record<string, number>> = {
  cpu: { nano: 8, small: 1, "reflow-1": 1 },
  gpu: { nano: 8, small: 16, "reflow-1": 8 },
  fallback: { nano: 1 },
};

/** Config and batch shape of a training step. */
export function trainingSetup(kind: DeviceKind, preset: string) {
  const config = benchConfig(kind, preset);
  const batch = BATCH[kind][preset];
  if (!batch) throw new ReflowError("device", "too slow on a software renderer");
  return { config, shape: { batch, length: kind === "fallback" ? 8 : config.context } };
}

/**
 * Rate of a whole training step (forward, backward, gradient norm, AdamW) in tokens/s. Its operations, 6·N + 6·layers·d·T per
 * token, are compared with the peak.
 *
 * @throws ReflowError `memory` if the step does not fit, `numerics` if the loss is not finite
 */
export async function benchTraining(device: BenchDevice, preset: string): Promise<Measurement> {
  const { backend, kind, clock, budget, threads } = device;
  const { config, shape } = trainingSetup(kind, preset);
  if (kind === "cpu") checkMemory(trainingBytes(config, shape));
  const training = startTraining(backend, config, shape);
  const best = await bestRates(
    { tokens: rateSampler(clock, shape.batch * shape.length, training.step), roof: device.roof },
    { ...budget, seconds: 5 * budget.seconds },
  );
  training.free();
  const flops = flopsPerToken(config, shape.length);
  return {
    ...measurement(`train-step/${preset}`, threads, "tokens/s", best.tokens, best.roof / flops),
    also: { value: (best.tokens * flops) / 1e9, unit: "GFLOP/s" },
    ...shape,
  };
}

function checkMemory(needed: number): void {
  if (needed <= TENSOR_BYTES) return;
  throw new ReflowError("memory", `needs ${bytes(needed)}, more than WebAssembly's 4 GiB: inference only`);
}

function startTraining(backend: Backend, config: ModelConfig, shape: { batch: number; length: number }) {
  const tokens = shape.batch * shape.length;
  const parameters = initialize(backend, config, { seed: 1 });
  const model = new TrainableModel(backend, config, parameters, shape);
  const optimizer = new AdamW(backend, config, parameters, model.gradients);
  const ids = Int32Array.from({ length: tokens + 1 }, (_, i) => (i * 7919) % config.vocab_size);
  let step = 0;
  return {
    step: async () => {
      model.forwardBackward(ids.subarray(0, tokens), ids.subarray(1));
      optimizer.step({ lr: 1e-4, step: ++step });
      const loss = await model.loss();
      if (!Number.isFinite(loss)) throw new ReflowError("numerics", `the loss of step ${step} is ${loss}`);
    },
    free: () => {
      optimizer.dispose();
      model.dispose();
      freeParameters(backend, parameters);
    },
  };
}
