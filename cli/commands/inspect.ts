import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { type ModelConfig, resolveConfig, VARIANTS, type Variant } from "../../runtime/config/config.ts";
import { parameterCount, parameterSpecs } from "../../runtime/config/parameter-specs.ts";
import { PRESETS } from "../../runtime/config/presets.ts";
import { DEVICE_WEIGHT_FORMATS } from "../../runtime/transformer/weights.ts";
import { bytes, columnsOf, number, spread, wrap } from "../shared/format.ts";
import { CHECKPOINT, count, oneOf } from "../shared/options.ts";

interface InspectOptions {
  preset?: string;
  variant?: Variant;
  batch?: number;
  context?: number;
  json?: boolean;
}

export function inspectCommand(): Command {
  const presets = Object.keys(PRESETS);
  return new Command("inspect")
    .summary("Show a model's tensors and memory.")
    .description("Show a model's parameters by tensor, and the memory it needs for inference and training.")
    .argument("[checkpoint]", CHECKPOINT)
    .option(
      "--preset <name>",
      `inspect a preset instead of a checkpoint: ${presets.join(", ")}`,
      oneOf(presets),
    )
    .option("--variant <name>", `variant of the preset: ${VARIANTS.join(", ")}`, oneOf(VARIANTS))
    .option("--batch <n>", "batch size for the memory estimate (default: 1)", count(1))
    .option(
      "--context <n>",
      "sequence length for the memory estimate (default: the model's context)",
      count(1),
    )
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample: bun run cli inspect --preset reflow-1 --variant reflow-topk")
    .action(inspect);
}

interface TensorRow {
  name: string;
  shape: readonly number[];
  count: number;
  dtype: string;
}

/** The inspected model. A preset has only a config and tensor shapes. */
interface InspectedModel {
  preset?: string;
  folder?: string;
  /** SHA-256 of the f32 weights */
  identity?: string;
  step?: number;
  tokenizer?: { tokens: number };
  files?: { name: string; bytes: number }[];
  config: ModelConfig;
  tensors: TensorRow[];
}

async function inspect(path: string | undefined, options: InspectOptions): Promise<void> {
  const inspected = path === undefined ? fromPreset(options) : await fromCheckpoint(path, options);
  const { config, tensors, ...source } = inspected;
  const { batch = 1, context: length = config.context } = options;
  if (length > config.context) {
    throw new ReflowError(
      "usage",
      `--context ${length} is more than the model's ${config.context}`,
      "omit --context, or use a smaller value",
    );
  }
  const memory = await memoryOf(config, { batch, length });
  const parameters = parameterCount(config);
  if (options.json) console.log(JSON.stringify({ ...source, parameters, config, memory, tensors }));
  else console.log(describe(inspected, memory));
}

function fromPreset({ preset, variant, context }: InspectOptions): InspectedModel {
  if (preset === undefined) {
    const help = `give a checkpoint's folder, or --preset: ${Object.keys(PRESETS).join(", ")}`;
    throw new ReflowError("usage", "no checkpoint or preset given", help);
  }
  const config = resolveConfig(PRESETS[preset], { variant, context });
  const tensors = parameterSpecs(config).map(({ name, shape }) => row(name, shape, "F32"));
  return { preset, config, tensors };
}

async function fromCheckpoint(path: string, { preset, variant }: InspectOptions): Promise<InspectedModel> {
  if (preset !== undefined || variant !== undefined) {
    const help = "give a checkpoint, or --preset with --variant";
    throw new ReflowError("usage", "--preset and --variant do not apply to a checkpoint", help);
  }
  if (!existsSync(path) && Object.hasOwn(PRESETS, path)) {
    throw new ReflowError("checkpoint", `${path} does not exist`, `did you mean --preset ${path}?`);
  }
  const { openCheckpoint } = await import("../../runtime/formats/checkpoint.ts");
  const { Tokenizer } = await import("../../runtime/text/tokenizer.ts");
  const checkpoint = openCheckpoint(path);
  try {
    const { folder, identity, config, tokenizerJson } = checkpoint;
    const trainer = checkpoint.readJson("trainer.json") as { position?: { step?: unknown } } | undefined;
    const tokenizer = tokenizerJson === undefined ? undefined : Tokenizer.fromJSON(tokenizerJson);
    const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    const step = trainer?.position?.step;
    return {
      folder,
      identity,
      step: typeof step === "number" ? step : undefined,
      tokenizer: tokenizer && { tokens: tokenizer.vocabSize },
      files: files
        .map(({ name }) => ({ name, bytes: statSync(join(folder, name)).size }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      config,
      tensors: [...checkpoint.tensors.tensors].map(([name, { shape, dtype }]) => row(name, shape, dtype)),
    };
  } finally {
    checkpoint.close();
  }
}

const row = (name: string, shape: readonly number[], dtype: string): TensorRow => ({
  name,
  shape,
  count: shape.reduce((a, b) => a * b, 1),
  dtype,
});

const TYPES = DEVICE_WEIGHT_FORMATS;
type Memory = Awaited<ReturnType<typeof memoryOf>>;

/** Memory in bytes, computed from the same lists that the runtime allocates from. */
async function memoryOf(config: ModelConfig, { batch, length }: { batch: number; length: number }) {
  const { TENSOR_BYTES } = await import("../../runtime/backend/wasm/heap.ts");
  const { inferenceBytes } = await import("../../runtime/transformer/inference.ts");
  const { activationBytes, trainingBytes } = await import("../../runtime/transformer/trainable-model.ts");
  const inference = (weights: (typeof TYPES)[number]) => {
    const needed = inferenceBytes(config, weights, { batch, length });
    return { ...needed, fitsWasm: needed.total <= TENSOR_BYTES };
  };
  const [activations, total] = [activationBytes, trainingBytes].map((f) => f(config, { batch, length }));
  return {
    batch,
    context: length,
    inference: { f32: inference("f32"), f16: inference("f16"), int8: inference("int8") },
    training: { parameters: total - activations, activations, total, fitsWasm: total <= TENSOR_BYTES },
  };
}

function describe(inspected: InspectedModel, memory: Memory): string {
  const { preset, folder, identity, step, tokenizer, files, config, tensors } = inspected;
  const lines = [
    `${preset ?? folder}: ${config.variant}, ${number(parameterCount(config))} parameters`,
    wrap(shapeOf(config), columnsOf(process.stdout)),
  ];
  if (files) {
    lines.push(
      "",
      `identity   ${identity}`,
      `step       ${step === undefined ? "unknown" : number(step)}`,
      `weights    ${[...new Set(tensors.map(({ dtype }) => dtype))].join(", ")}`,
      `tokenizer  ${tokenizer ? `${number(tokenizer.tokens)} tokens` : "none"}`,
      "",
      ...spread(files.map((file) => [file.name, bytes(file.bytes)])),
    );
  }
  lines.push("", ...spread(tensorTable(config)), "", ...memoryTable(memory));
  return lines.join("\n");
}

function shapeOf(config: ModelConfig): string {
  const { n_layers, d_model, n_signals, top_k, n_heads, n_kv_heads, d_ff, context, vocab_size } = config;
  return [
    `${n_layers} layers`,
    `width ${d_model}`,
    ...(n_signals ? [`${n_signals} signals`] : []),
    ...(top_k ? [`top ${top_k}`] : []),
    `${n_heads} heads`,
    ...(n_kv_heads === n_heads ? [] : [`${n_kv_heads} for keys and values`]),
    `d_ff ${d_ff}`,
    `context ${context}`,
    `vocabulary ${vocab_size}`,
  ].join(", ");
}

/** Rows by tensor. All blocks have the same tensors, which are shown once, under the total of all blocks. */
function tensorTable(config: ModelConfig): [string, string][] {
  const rows = parameterSpecs(config).map(({ name, shape }) => row(name, shape, ""));
  const isBlock = ({ name }: TensorRow) => name.startsWith("blocks.");
  const first = rows.findIndex(isBlock);
  const total = (some: TensorRow[]) => number(some.reduce((sum, each) => sum + each.count, 0));
  const all = total(rows);
  const line = (name: string, shape: string, n: string): [string, string] => [
    name,
    `${shape} ${n.padStart(all.length)}`,
  ];
  const tensor = (each: TensorRow, name = each.name) => line(name, each.shape.join("×"), number(each.count));
  return [
    ...rows.slice(0, first).map((each) => tensor(each)),
    line(`${config.n_layers} × block`, "", total(rows.filter(isBlock))),
    ...rows
      .filter(({ name }) => name.startsWith("blocks.0."))
      .map((each) => tensor(each, each.name.replace("blocks.0.", "  "))),
    ...rows
      .slice(first)
      .filter((each) => !isBlock(each))
      .map((each) => tensor(each)),
    line("total", "", all),
  ];
}

function memoryTable({ batch, context, inference, training }: Memory): string[] {
  const cells = (name: string, cell: (type: (typeof TYPES)[number]) => string) =>
    name.padEnd(11) + TYPES.map((type) => cell(type).padStart(9)).join("");
  const each = (name: string, key: "weights" | "cache" | "activations" | "total") =>
    cells(name, (type) => bytes(inference[type][key]));
  const fits = (yes: boolean) => (yes ? "yes" : "no");
  return [
    `Memory for ${number(batch)} × ${number(context)} tokens`,
    "",
    cells("Inference", (type) => type),
    each("weights", "weights"),
    each("KV cache", "cache"),
    each("activations", "activations"),
    each("total", "total"),
    cells("fits WASM", (type) => fits(inference[type].fitsWasm)),
    "",
    ...spread([
      ["Training", ""],
      ["weights, gradients, moments", bytes(training.parameters)],
      ["activations", bytes(training.activations)],
      ["total", bytes(training.total)],
      ["fits WASM", fits(training.fitsWasm)],
    ]),
  ];
}
