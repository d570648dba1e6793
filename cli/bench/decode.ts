import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import { type ModelConfig, parameterSpecs } from "../../runtime/config/config.ts";
import { forward } from "../../runtime/transformer/inference.ts";
import type { Parameters } from "../../runtime/transformer/parameters.ts";
import { RunState } from "../../runtime/transformer/run-state.ts";
import { prepareWeights } from "../../runtime/transformer/weights.ts";
import { type BenchDevice, benchConfig, type DeviceKind } from "./device.ts";
import { bestRates, type Measurement, measurement, rateSampler } from "./measure.ts";

/** Of a timing. */
const TOKENS: Record<DeviceKind, number> = { cpu: 16, gpu: 16, fallback: 2 };

/** More than four times any last-level cache here. */
const READ_BYTES: Record<DeviceKind, number> = { cpu: 2 ** 28, gpu: 2 ** 28, fallback: 2 ** 24 };

/**
 * Tokens a second of one sequence with int8 weights, from position 32 on, each read before the next one, against a bare
 * loop of int8 dot products over as many bytes of weights, no scales, no norms, no attention; on a GPU against reading
 * them.
 */
export async function benchDecode(subject: BenchDevice, preset: string): Promise<Measurement> {
  const { backend, kind, clock, budget, threads } = subject;
  const config = benchConfig(kind, preset);
  const { parameters, bytes } = int8Parameters(backend, config);
  const weights = await prepareWeights(backend, config, parameters);
  const state = new RunState(backend, config, { slots: 1, context: 64, rows: 1, logitRows: 1 });
  const model = { backend, config, weights };
  const roof = subject.decodeRoof(bytes);
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
  const { basis, ...kept } = parameters; // freed as it was prepared
  for (const tensor of [...Object.values(kept), weights.basis!, weights.basisTransposed!, weights.rope!]) {
    backend.free(tensor);
  }
  return measurement(`decode/${preset}/int8`, threads, "tokens/s", best.decode, best.roof);
}

/** Matrices of any values, and the bytes of those that decoding reads as int8. */
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

/** Reading memory and nothing else. */
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
