import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import { parameterSpecs } from "../../runtime/config/parameter-specs.ts";
import { forward } from "../../runtime/transformer/inference.ts";
import type { Parameters } from "../../runtime/transformer/parameters.ts";
import { RunState } from "../../runtime/transformer/run-state.ts";
import { prepareWeights } from "../../runtime/transformer/weights.ts";
import { type BenchDevice, benchConfig, type DeviceKind } from "./device.ts";
import { bestRates, type Measurement, measurement, rateSampler } from "./measure.ts";

/** Tokens decoded per sample. */
const TOKENS: Record<DeviceKind, number> = { cpu: 16, gpu: 16, fallback: 2 };

/** Bytes read per sample, more than four times the last-level cache of the machines it was measured on. */
const READ_BYTES: Record<DeviceKind, number> = { cpu: 2 ** 28, gpu: 2 ** 28, fallback: 2 ** 24 };

/**
 * Decoding rate of one sequence with int8 weights in tokens/s, from position 32 on; each token's logits are read before the next
 * step. The peak is a bare loop of int8 dot products over the same number of weight bytes, without scales, norms or attention; on
 * a GPU, reading those bytes.
 */
export async function benchDecode(device: BenchDevice, preset: string): Promise<Measurement> {
  const { backend, kind, clock, budget, threads } = device;
  const config = benchConfig(kind, preset);
  const { parameters, bytes } = int8Parameters(backend, config);
  const weights = await prepareWeights(backend, config, parameters);
  const state = new RunState(backend, config, { slots: 1, context: 64, rows: 1, logitRows: 1 });
  const model = { backend, config, weights };
  const roof = device.decodeRoof(bytes);
  const tokens = TOKENS[kind];
  const best = await bestRates(
    {
      decode: rateSampler(clock, tokens, async () => {
        for (let i = 0; i < tokens; i++) {
          const step = { ids: Int32Array.of(i), start: Int32Array.of(32 + i), slot: 0, logits: 1 };
          const logits = await forward(model, state, step);
          await backend.read(logits!);
        }
      }),
      roof: rateSampler(clock, tokens, () => {
        for (let i = 0; i < tokens; i++) roof.run();
      }),
    },
    budget,
  );
  roof.free();
  state.free();
  const { basis, ...kept } = parameters; // freed by prepareWeights
  for (const tensor of [...Object.values(kept), weights.basis!, weights.basisTransposed!, weights.rope!]) {
    backend.free(tensor);
  }
  return measurement(`decode/${preset}/int8`, threads, "tokens/s", best.decode, best.roof);
}

/** Parameters with arbitrary values, and the number of int8 bytes that decoding reads. */
function int8Parameters(backend: Backend, config: ModelConfig): { parameters: Parameters; bytes: number } {
  let bytes = 0;
  const make = (name: string, shape: readonly number[]): Tensor => {
    const tensor = backend.alloc(shape, shape.length === 2 ? "i8" : "f32");
    if (tensor.dtype !== "i8") {
      backend.fill(tensor, 1);
      return tensor;
    }
    bytes += name === "basis" ? 0 : tensor.size;
    backend.write(
      tensor,
      Int8Array.from({ length: tensor.size }, (_, i) => (i * 37) % 127),
    );
    backend.fill(tensor.scale!, 0.02 / 64);
    return tensor;
  };
  const parameters = Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [name, make(name, shape)]),
  );
  return { parameters, bytes };
}

/** Memory read bandwidth in GB/s. */
export async function benchReading({
  kind,
  clock,
  budget,
  threads,
  read,
}: BenchDevice): Promise<Measurement> {
  const bytes = READ_BYTES[kind];
  const { run, free } = read(bytes);
  const best = await bestRates({ bytes: rateSampler(clock, bytes, run) }, budget);
  free();
  return measurement("read-bandwidth", threads, "GB/s", best.bytes / 1e9);
}
