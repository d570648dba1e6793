import type { Backend, Tensor } from "../backend/contract/backend.ts";
import type { ModelConfig } from "../config/config.ts";
import { type ParameterSpec, parameterSpecs } from "../config/parameter-specs.ts";
import { Random } from "../math/random.ts";

/** A tensor for each name of `parameterSpecs`, in that order: weights, gradients or optimizer moments. */
export type Parameters = Record<string, Tensor>;

export interface InitializeOptions {
  seed: number;
  /** A random orthogonal basis, or one drawn from N(0, 0.02). */
  basisInit?: "orthogonal" | "normal";
}

const STD = 0.02;
/** Values are generated and written in chunks of this many, so that no host array is as large as a table. */
const CHUNK = 1 << 18;

/** Zero-filled f32 tensors for all parameters of a model. */
export function allocateParameters(backend: Backend, config: ModelConfig): Parameters {
  return Object.fromEntries(parameterSpecs(config).map(({ name, shape }) => [name, backend.alloc(shape)]));
}

export function freeParameters(backend: Backend, parameters: Parameters): void {
  for (const tensor of Object.values(parameters)) backend.free(tensor);
}

/**
 * Initialises a model: N(0, 0.02), residual outputs scaled by 1/sqrt(2·layers), and a basis that gives E = R·B the
 * standard deviation 0.02. Each tensor depends only on the seed and its name.
 *
 * @param parameters existing tensors to fill; default: new ones
 */
export function initialize(
  backend: Backend,
  config: ModelConfig,
  options: InitializeOptions,
  parameters = allocateParameters(backend, config),
): Parameters {
  for (const spec of parameterSpecs(config)) {
    const tensor = parameters[spec.name];
    if (spec.init === "one" || spec.init === "zero") backend.fill(tensor, spec.init === "one" ? 1 : 0);
    else {
      let offset = 0;
      for (const values of firstValues(config, spec, options)) {
        backend.write(tensor, values, offset);
        offset += values.length;
      }
    }
  }
  return parameters;
}

/**
 * The values that {@link initialize} gives a parameter, on the host.
 *
 * @param name the name of a matrix
 * @example
 * const recipe = initialValues(config, "recipe", { seed: 1337 }); // (V,S)
 */
export function initialValues(config: ModelConfig, name: string, options: InitializeOptions): Float32Array {
  const spec = parameterSpecs(config).find((spec) => spec.name === name)!;
  const values = new Float32Array(sizeOf(spec));
  let offset = 0;
  for (const chunk of firstValues(config, spec, options)) {
    values.set(chunk, offset);
    offset += chunk.length;
  }
  return values;
}

/** The values of a matrix in chunks that share one buffer. */
function* firstValues(
  config: ModelConfig,
  spec: ParameterSpec,
  { seed, basisInit }: InitializeOptions,
): Generator<Float32Array> {
  const random = new Random(`${seed}/${spec.name}`);
  if (spec.init === "basis" && basisInit !== "normal") {
    yield orthogonalBasis(config, spec, random);
    return;
  }
  const std = spec.init === "residual" ? STD / Math.sqrt(2 * config.n_layers) : STD;
  const size = sizeOf(spec);
  const chunk = new Float32Array(Math.min(CHUNK, size));
  for (let offset = 0; offset < size; offset += CHUNK) {
    const values = chunk.subarray(0, Math.min(CHUNK, size - offset));
    for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
    yield values;
  }
}

const sizeOf = ({ shape }: ParameterSpec): number => shape.reduce((a, b) => a * b, 1);

/**
 * (S,d) with orthonormal columns, or rows where S < d, scaled so that E = R·B has the standard deviation of R, which
 * is 0.02.
 */
function orthogonalBasis(config: ModelConfig, { shape }: ParameterSpec, random: Random): Float32Array {
  const [S, d] = shape;
  const tall = orthonormalColumns(Math.max(S, d), Math.min(S, d), random);
  // A row of E has the length of its recipe, spread over d values instead of S.
  const scale = Math.sqrt(d / Math.min(S, d) / recipePower(config, random));
  return Float32Array.from(tall, (_, i) => {
    const [s, j] = [Math.floor(i / d), i % d];
    return scale * (S >= d ? tall[i] : tall[j * S + s]);
  });
}

/** The mean square of a recipe as the model uses it, in units of its variance: less than 1 if only k values are kept. */
function recipePower({ n_signals: S = 0, top_k }: ModelConfig, random: Random): number {
  if (!top_k) return 1;
  const rows = 256;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const kept = Float64Array.from({ length: S }, () => Math.max(0, random.normal()))
      .sort()
      .subarray(-top_k);
    for (const x of kept) sum += x * x;
  }
  return sum / (rows * S);
}

/**
 * A matrix (n,r), n ≥ r, distributed uniformly over all matrices with orthonormal columns: a product of the Householder
 * reflections that would triangulate a Gaussian matrix (Stewart 1980), without forming that matrix. 4/3·n³ operations at
 * r = n.
 */
export function orthonormalColumns(n: number, r: number, random: Random): Float64Array {
  const q = new Float64Array(n * r);
  const v = new Float64Array(n);
  const along = new Float64Array(r);
  for (let k = r - 1; k >= 0; k--) {
    // Reflects rows k… and columns k…, which earlier reflections have made different from the identity.
    let square = 0;
    for (let i = k; i < n; i++) {
      v[i] = random.normal();
      square += v[i] * v[i];
    }
    const sign = v[k] < 0 ? -1 : 1;
    const length = Math.sqrt(square);
    const factor = 1 / (square + length * Math.abs(v[k])); // 2 / ‖v‖² of the v below
    v[k] += sign * length;
    q[k * r + k] = -sign;
    along.fill(0);
    for (let i = k; i < n; i++) {
      for (let j = k, at = i * r + k; j < r; j++, at++) along[j] += v[i] * q[at];
    }
    for (let i = k; i < n; i++) {
      const f = factor * v[i];
      for (let j = k, at = i * r + k; j < r; j++, at++) q[at] -= f * along[j];
    }
  }
  return q;
}
