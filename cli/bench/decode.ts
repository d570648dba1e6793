import type { Tensor } from "../../runtime/backend/backend.ts";
import { bareDotRun, fillInt8, readRun } from "../../runtime/backend/wasm/measure.ts";
import type { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import { PRESETS, parameterSpecs, resolveConfig } from "../../runtime/model/config.ts";
import { forward } from "../../runtime/model/infer.ts";
import { RunState } from "../../runtime/model/state.ts";
import { prepareWeights } from "../../runtime/model/weights.ts";
import { type Row, race, row } from "./measure.ts";

const TOKENS = 16;

/**
 * Tokens a second of one sequence with int8 weights, from position 32 on, against a bare loop of int8 dot products over
 * as many bytes of weights: no scales, no norms, no attention.
 */
export async function benchDecode(backend: WasmBackend, preset: string): Promise<Row> {
  const config = resolveConfig(PRESETS[preset]);
  let bytes = 0;
  const parameters: Record<string, Tensor> = {};
  const made: Tensor[] = [];
  for (const { name, shape } of parameterSpecs(config)) {
    const tensor = backend.alloc(shape, shape.length === 2 ? "i8" : "f32");
    if (tensor.dtype === "i8") {
      bytes += name === "basis" ? 0 : tensor.size;
      fillInt8(backend, tensor);
      backend.fill(tensor.scale!, 0.02 / 64);
    } else {
      backend.fill(tensor, 1);
    }
    parameters[name] = tensor;
    if (name !== "basis") made.push(tensor);
  }
  const weights = await prepareWeights(backend, config, parameters);
  const context = 64;
  const state = new RunState(backend, config, { slots: 1, context, rows: 1, logitRows: 1 });
  const model = { backend, config, weights };
  const bare = bareDotRun(backend, bytes);
  const least = await race(
    {
      decode: async () => {
        for (let i = 0; i < TOKENS; i++) {
          const step = { ids: Int32Array.of(i), start: Int32Array.of(32 + i), slot: 0, logits: 1 };
          const logits = await forward(model, state, step);
          await backend.read(logits!);
        }
      },
      bare: () => {
        for (let i = 0; i < TOKENS; i++) bare.run();
      },
    },
    { seconds: 4 },
  );
  bare.free();
  state.free();
  for (const tensor of made) backend.free(tensor);
  return row(
    `decode/${preset}/int8`,
    backend.threads,
    "tokens/s",
    TOKENS / least.decode,
    TOKENS / least.bare,
  );
}

/** Reading memory and nothing else, over 256 MiB: more than four times any last-level cache here. */
export async function benchReading(backend: WasmBackend): Promise<Row> {
  const read = readRun(backend, 2 ** 28);
  const least = await race({ read: read.run });
  read.free();
  return row("read-bandwidth", backend.threads, "GB/s", read.bytes / least.read / 1e9);
}
