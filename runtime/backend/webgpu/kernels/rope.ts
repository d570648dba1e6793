import type { RopeOptions, Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { type WebgpuDevice, widthFor } from "../device/device.ts";
import { elementwise, WORKGROUP } from "../device/kernel.ts";

// Rotary position embeddings (Su et al. 2021). i enumerates the pairs (j, j + D/2) of all heads and rows; half is D/2, and
// sign is −1 for the inverse rotation.
const code = (start: string) => /* wgsl */ `
  let j = i % p.half;
  let row = i / p.half / p.heads;
  let position = row % p.length + ${start};
  let cosine = table(position * 2u * p.half + j);
  let sine = p.sign * table(position * 2u * p.half + p.half + j);
  let at = i + i / p.half * p.half;
  let a = x(at);
  let b = x(at + p.half);
  set_x(at, a * cosine - b * sine);
  set_x(at + p.half, a * sine + b * cosine);`;

const PARAMS = { length: "u32", heads: "u32", half: "u32", sign: "f32" } as const;
const ROPE = elementwise("rope", { x: "writeW", table: "readW" }, code("0u"), PARAMS);
const ROPE_FROM = elementwise(
  "rope-from",
  { x: "writeW", table: "readW", start: "read" },
  code("u32(start(row / p.length))"),
  PARAMS,
);

export function rope(device: WebgpuDevice, x: Tensor, table: Tensor, options: RopeOptions): void {
  const { length, heads, headDim, inverse = false, start } = options;
  const rows = x.size / (heads * headDim);
  const fits = rows % length === 0 && headDim % 2 === 0 && length <= table.size / headDim;
  checkShapes(fits && (!start || start.size * length === rows), "rope", x, table);
  const { W } = widthFor(headDim / 2, x, table);
  const size = x.size / 2 / W;
  const params = { size, length, heads, half: headDim / 2 / W, sign: inverse ? -1 : 1 };
  if (start) device.run(ROPE_FROM, { x, table, start }, params, size / WORKGROUP, { W });
  else device.run(ROPE, { x, table }, params, size / WORKGROUP, { W });
}
