import { roofRun } from "../../runtime/backend/wasm/measure.ts";
import type { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import { flopsPerToken, PRESETS, resolveConfig } from "../../runtime/model/config.ts";
import { AdamW } from "../../runtime/model/optimizer.ts";
import { freeParameters, initialize } from "../../runtime/model/parameters.ts";
import { TrainableModel } from "../../runtime/model/train.ts";
import { type Row, race, row } from "./measure.ts";

/** A whole training step of `nano`: forward, backward, norm, AdamW; B 8, T 256; 6·N + 6·layers·d·T operations a token. */
export async function benchTraining(backend: WasmBackend): Promise<Row> {
  const config = resolveConfig(PRESETS.nano);
  const shape = { batch: 8, length: config.context };
  const tokens = shape.batch * shape.length;
  const parameters = initialize(backend, config, { seed: 1 });
  const model = new TrainableModel(backend, config, parameters, shape);
  const optimizer = new AdamW(backend, config, parameters, model.gradients);
  const ids = Int32Array.from({ length: tokens + 1 }, (_, i) => (i * 7919) % config.vocab_size);
  let step = 0;
  const roof = roofRun(backend);
  const least = await race(
    {
      step: async () => {
        model.forwardBackward(ids.subarray(0, tokens), ids.subarray(1));
        optimizer.step({ lr: 1e-4, step: ++step });
        await model.loss();
      },
      roof: () => {
        for (let i = 0; i < 20; i++) roof.run();
      },
    },
    { seconds: 15 },
  );
  optimizer.dispose();
  model.dispose();
  freeParameters(backend, parameters);
  const flops = (tokens * flopsPerToken(config, config.context)) / least.step / 1e9;
  const result = row(
    "train-step/nano",
    backend.threads,
    "GFLOP/s",
    flops,
    (20 * roof.operations) / least.roof / 1e9,
  );
  return { ...result, tokensPerSecond: tokens / least.step };
}
