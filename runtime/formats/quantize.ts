import { join } from "node:path";
import { ReflowError } from "../common/errors.ts";
import { parameterSpecs } from "../config/parameter-specs.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { int8Entries, WEIGHT_FILES } from "./checkpoint-tensors.ts";
import { discard, diskError, removeTemporaries, replaceDurably, temporary } from "./disk.ts";
import { groupsOf, quantizeRows } from "./int8.ts";
import { readManifest, replaceManifest } from "./manifest.ts";
import { createTensorFile, type TensorFile, type TensorFileWriter } from "./tensor-file.ts";

/** Elements quantised at a time. */
const CHUNK = 2 ** 18;

/**
 * Writes `model.int8.safetensors` beside a checkpoint's `model.safetensors`, streaming, with the f32 file's
 * identity in its metadata. The checkpoint remains loadable at every instant.
 *
 * @param path a checkpoint folder, or a run folder for its newest
 * @returns the path of the file written
 * @throws ReflowError as `openCheckpoint`; `numerics` if a weight is not finite; `checkpoint` if it cannot be written
 */
export function quantizeCheckpoint(path: string): string {
  const { folder, config, tensors, identity } = openCheckpoint(path, { weights: "f32" });
  const target = join(folder, WEIGHT_FILES.int8);
  const draft = temporary(target);
  let file: TensorFileWriter | undefined;
  try {
    removeTemporaries(folder);
    file = createTensorFile(draft, int8Entries(config), { identity });
    for (const { name, shape } of parameterSpecs(config)) {
      if (shape.length === 2) quantizeMatrix(file, tensors, name, shape);
      else copyVector(file, tensors, name);
    }
    const record = file.close();
    const manifest = readManifest(folder);
    const { [WEIGHT_FILES.int8]: earlier, ...others } = manifest ?? {};
    // Unlisted files are not verified: at every moment either the entry is absent or the file matches it.
    if (earlier) replaceManifest(folder, others);
    replaceDurably(draft, target);
    if (manifest) replaceManifest(folder, { ...others, [WEIGHT_FILES.int8]: record });
  } catch (cause) {
    file?.abort();
    discard(draft);
    throw diskError(cause, target);
  } finally {
    tensors.close();
  }
  return target;
}

function copyVector(to: TensorFileWriter, from: TensorFile, name: string): void {
  from.readF32(name, (chunk) => to.write(name, chunk));
}

function quantizeMatrix(
  to: TensorFileWriter,
  from: TensorFile,
  name: string,
  [rows, columns]: readonly number[],
): void {
  const groups = groupsOf(columns);
  const scale = new Float32Array(rows * groups);
  const rowsAtOnce = Math.max(1, Math.floor(CHUNK / columns));
  const quantize = (chunk: Float32Array, offset: number) => {
    const part = quantizeRows(chunk, chunk.length / columns, columns);
    to.write(name, part.values);
    scale.set(part.scale, (offset / columns) * groups);
  };
  try {
    from.readF32(name, quantize, rowsAtOnce * columns);
  } catch (cause) {
    if (!(cause instanceof ReflowError) || cause.code !== "numerics") throw cause;
    const message = `${from.path}: tensor "${name}" holds values that are not finite`;
    throw new ReflowError("numerics", message, cause.help, { cause });
  }
  to.write(`${name}.scale`, scale);
}
